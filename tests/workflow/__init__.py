"""A package, so that these tests can import from their conftest.py."""
