"""The primer: the task, the worlds and the five stages in miniature."""
