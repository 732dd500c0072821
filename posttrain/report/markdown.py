"""The report as Markdown: what a pull request or a wiki can hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SHARES = ("pass@", "pass^", "maj@", "parts_passed", "mean_token_accuracy", "rewards/accuracies")


def as_markdown(document: Mapping[str, Any]) -> str:
    """Return the lineage, what each run reached, evals with paired differences, alarms, data and cost."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"<!-- posttrain report {document['version']}, {document['written']} -->"
    runs = {run["name"]: run for run in document["runs"]}
    if runs:
        yield "# " + _text(", ".join(run["name"] for run in runs.values() if run["asked"]))
    for chain in document["chains"]:
        yield from ("", " → ".join(_text(step["name"]) for step in chain))
    if runs:
        heading = ["run", "stage", "from", "held-out metric", "before", "after", "steps", "tokens", "seconds"]
        yield from ("", "## Runs", "", *_table(heading, [_run(run) for run in runs.values()]))
    for run in runs.values():
        if run["parent"] in runs and run["changes"]:
            yield from ("", f"Recipe of {_text(run['name'])} against that of {_text(run['parent'])}:", "")
            yield from _table(["key", "there", "here"], run["changes"])
    for found in document["evals"]:
        yield from _eval(found)
    alarms = [(run["name"], alarm) for run in runs.values() for alarm in run["alarms"]]
    if alarms:
        rows = [[name, a.get("step"), a.get("alarm"), a.get("says"), a.get("fix")] for name, a in alarms]
        yield from ("", "## Alarms", "", *_table(["run", "step", "alarm", "what", "what to do"], rows))
    if runs:
        yield from ("", "## Data and machine", "")
        rows = [
            [run["name"], _said(run["rows"]), _said(run["hardware"]), _said(run["versions"])] for run in runs.values()
        ]
        yield from _table(["run", "rows", "hardware", "versions"], rows)


def _run(run: Mapping[str, Any]) -> list[Any]:
    name = run["headline"]
    figures = [_figure(name, run[when].get(name), run[when].get(f"{name}_stderr")) for when in ("before", "after")]
    return [
        run["name"],
        run["stage"],
        run["parent"],
        name,
        *figures,
        run["steps"],
        f"{run['tokens']:,}",
        f"{run['seconds']:,.0f}",
    ]


def _eval(found: Mapping[str, Any]) -> Iterator[str]:
    names, lines = found["figures"], found["lines"]
    rows = [
        [line["label"], line["problems"], *(_figure(n, line.get(n), line.get(f"{n}_stderr")) for n in names)]
        for line in lines
    ]
    yield from ("", f"## Eval: {_text(found['name'])}", "", "± is the standard error over problems.", "")
    yield from _table(["model", "problems", *names], rows)
    baseline = lines[0]["label"]
    against = {(d["label"], d["figure"]): d for d in found["differences"] if d["baseline"] == baseline}
    if against:
        yield from (
            "",
            f"Above {_text(baseline)} on the same problems, with the 95% interval of the paired difference:",
            "",
        )
        rows = [[line["label"], *(_difference(against.get((line["label"], n))) for n in names)] for line in lines[1:]]
        yield from _table(["model", *names], rows)


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    scale, digits = _scale(found["figure"])
    text = f"{scale * found['difference']:+.{digits}f}"
    return text if found["ci95"] is None else f"{text} [{', '.join(f'{scale * b:+.{digits}f}' for b in found['ci95'])}]"


def _figure(name: str, value: Any, stderr: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    scale, digits = _scale(name)
    return f"{scale * value:.{digits}f}" + (
        f" ± {scale * stderr:.{digits}f}" if isinstance(stderr, int | float) else ""
    )


def _scale(name: str) -> tuple[int, int]:
    return (100, 1) if name.startswith(_SHARES) else (1, 3)


def _table(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [[_text(str(cell)) for cell in row] for row in (heading, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [lines[0], "|" + "---|" * len(heading), *lines[1:]]


def _said(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, 0))


def _text(text: str) -> str:
    """Return text that Markdown shows as it is: no HTML, no table ends, no links."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split())).replace("&", "&amp;")
