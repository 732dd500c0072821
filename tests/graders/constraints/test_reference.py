from __future__ import annotations

from pathlib import Path

from posttrain.graders.constraints.reference import render
from posttrain.graders.constraints.table import constraints

PAGE = Path(__file__).parents[3] / "docs" / "instructions.md"


def test_the_page_is_that_of_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "run: python -m posttrain.graders.constraints.reference > docs/instructions.md"
    )


def test_the_page_says_what_every_constraint_asks() -> None:
    rows = dict(line.split("|")[1:4:2] for line in render().splitlines() if line.startswith("| `"))
    assert {name.strip(" `") for name in rows} == set(constraints())
    assert [name for name, about in rows.items() if len(about.split()) < 3] == []
