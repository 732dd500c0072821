"""Reinforcement learning with verifiable rewards: sample, grade, and reinforce what beats its group (GRPO,
arXiv 2402.03300, with TRL's variations under their own names)."""

from __future__ import annotations

from posttrain.stages.rlvr.trainer import make_trainer, prompt_rows

__all__ = ["make_trainer", "prompt_rows"]
