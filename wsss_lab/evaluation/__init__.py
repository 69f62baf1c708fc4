"""Scores: mIoU, precision-recall, mean precision, average precision, intervals."""
