"""How much of the vocabulary's projection exists at a time on a processor."""

from __future__ import annotations

PIECE = 128
"""Positions: their logits fit a processor's cache, and they are enough for its matrix products."""

MOST_KEPT = 512 * 2**20
"""Bytes of probabilities that are kept for the backward pass rather than computed again."""
