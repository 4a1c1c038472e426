"""A run as a whole: its jobs, what they cost, how far they are, and who makes it."""
