"""The 58 constraints of IFBench (Pyatkin et al., 2025, arXiv 2507.02833).

Where IFBench's own check differs from the words of its instruction, the check is followed, and said in the last
column. A mark of punctuation is an ASCII one: a curly quotation mark, an ellipsis and a dash are parts of words.
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
