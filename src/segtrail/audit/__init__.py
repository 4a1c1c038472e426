"""Arithmetic that printed numbers, and ours, must obey: `segtrail audit`.

`bounds` holds what must be true of any numbers of known measures, `statements` what a paper says of its own
numbers. Every rule grants each number the most favourable rounding.
"""
