"""docs/instructions.md, written from the tables.

``python -m posttrain.graders.constraints.reference > docs/instructions.md``
"""

from __future__ import annotations

import inspect
from importlib import import_module

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.table import FAMILIES

_INTRODUCTION = """\
# Instructions that a program can check

<!-- Written by `python -m posttrain.graders.constraints.reference`; a test holds it equal to the tables. -->

What the grader [`instruction`](graders.md#instruction) can hold a response to: each `id` may stand in a problem's
`instruction_id_list`, and its arguments in `kwargs` at the same place. An argument that is null is not given; one in
brackets may be left out.

The verdicts are those of the published checkers, since published figures are made of them, also where the words of an
instruction would lead elsewhere: read the last column before you train on one. A relation is `at least` or
`less than`. A keyword is a regular expression that ignores case. A blank response follows nothing.
"""
_TITLES = {
    "ifeval": "IFEval",
    "iftrain": "IFTrain, the training constraints of IF-RLVR",
    "ifbench": "IFBench",
}


def render() -> str:
    """Return docs/instructions.md."""
    parts = [_INTRODUCTION]
    for family in FAMILIES:
        module = import_module(f"posttrain.graders.constraints.{family}")
        if module.CONSTRAINTS:
            rows = [_row(name, constraint) for name, constraint in module.CONSTRAINTS.items()]
            table = "\n".join(["| id | kwargs | followed when |", "|---|---|---|", *rows])
            parts.append(f"## {_TITLES[family]}\n\n{_text(inspect.getdoc(module))}\n\n{table}\n")
    return "\n".join(parts)


def _row(name: str, constraint: Constraint) -> str:
    arguments = [f"`{one}`" for one in constraint.required] + [f"(`{one}`)" for one in constraint.optional]
    about = _text(inspect.getdoc(constraint.check)).replace("\n\n", " ").replace("|", "\\|")
    return f"| `{name}` | {', '.join(arguments)} | {about} |"


def _text(docstring: str | None) -> str:
    """Return a docstring as Markdown, a paragraph on one line."""
    paragraphs = (docstring or "").replace("``", "`").split("\n\n")  # reStructuredText's code, as Markdown's
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    print(render(), end="")
