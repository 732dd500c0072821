"""The 58 constraint types of IFBench (Pyatkin et al. 2025, "Generalizing Verifiable Instruction Following").

Each is a function of the response and its arguments, whose first line of documentation is its definition. Where
IFBench's own check differs from what its instruction says, the check is followed, and a comment tells the difference.
"""

from __future__ import annotations

from posttrain.graders.constraints.ifbench import (
    counts,
    custom,
    formats,
    nesting,
    ratios,
    repeats,
    sentence_chains,
    tables,
    words,
)

CONSTRAINTS = {
    **counts.CONSTRAINTS,
    **ratios.CONSTRAINTS,
    **words.CONSTRAINTS,
    **sentence_chains.CONSTRAINTS,
    **formats.CONSTRAINTS,
    **nesting.CONSTRAINTS,
    **custom.CONSTRAINTS,
    **tables.CONSTRAINTS,
    **repeats.CONSTRAINTS,
}
