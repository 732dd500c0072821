"""The report as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.pages.write import render


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a report's document."""
    return render(
        "posttrain.report",
        "report.html.j2",
        title=title(document),
        written=document["written"][:16].replace("T", " "),
        version=document["version"],
        data=document,
    )


def title(document: Mapping[str, Any]) -> str:
    """Return what the report is of: the runs that were asked for, else the evals."""
    asked = [run["name"] for run in document["runs"] if run["asked"]]
    names = asked or [found["name"] for found in document["evals"]]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
