"""Araslanov & Roth 2020, one network in one training."""
