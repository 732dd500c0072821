"""The 58 constraints of IFBench (Pyatkin et al., 2025, arXiv 2507.02833)."""

from __future__ import annotations

from posttrain.graders.constraints.constraint import Constraint

CONSTRAINTS: dict[str, Constraint] = {}
