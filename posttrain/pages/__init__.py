"""Pages of one file that ask nothing of the network: how they look, and how they are written."""
