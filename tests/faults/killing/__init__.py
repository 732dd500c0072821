"""Runs that are killed and resumed: what is run, when and what is killed, and what may not differ afterwards."""
