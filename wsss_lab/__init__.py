"""wsss-lab: five papers on weakly supervised semantic segmentation, run step by step."""

__version__ = "0.1.0"
