"""Numbers about one subject, and statistics over subjects: arrays in, numbers out, no files, no networks.

Nothing is imported here: `calibration` loads numba, which the statistics do not need (`errors` loads it to
count).
"""
