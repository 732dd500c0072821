"""What a trainer computes of a batch: each token once, each row by itself, the vocabulary where a loss reads it."""
