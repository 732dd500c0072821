"""`posttrain data`: look at rows, and shape them."""

from __future__ import annotations

import json

from posttrain.cli.options import AsJson


def formats(as_json: AsJson = False) -> None:
    """List the row formats that each stage reads, with the columns that they need.

    Example: posttrain data formats
    """
    from posttrain.data.formats import FORMATS

    found = {
        stage: {name: {"title": format.title, "columns": format.needs} for name, format in formats.items()}
        for stage, formats in FORMATS.items()
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    width = max(len(name) for formats in found.values() for name in formats)
    for stage, listed in found.items():
        print(stage)
        for name, said in listed.items():
            print(f"  {name:{width}}  {said['columns']}")
