"""From the scans as distributed to prepared arrays, splits and phantoms. No module here imports torch."""
