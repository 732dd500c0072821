"""Run directories: what a stage writes, in which order, and how it is found again."""
