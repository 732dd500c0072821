"""posttrain: make a good instruct model better at your task."""

__version__ = "0.1.0"
