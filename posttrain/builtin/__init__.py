"""The embedded default model `builtin:tiny`: its tasks, tokenizer, training script and data sets."""

from __future__ import annotations

from pathlib import Path

TINY = Path(__file__).parent / "tiny"
