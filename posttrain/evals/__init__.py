"""Knowing: completions sampled, graded and counted, with error bars."""
