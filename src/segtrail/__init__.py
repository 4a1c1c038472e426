"""segtrail: every number and figure of five papers on uncertainty in medical image segmentation."""

__version__ = "0.1.0"
