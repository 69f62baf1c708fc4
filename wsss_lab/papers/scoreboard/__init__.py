"""The parts of the five papers in each other's places, with one segmenter and equal training for all."""
