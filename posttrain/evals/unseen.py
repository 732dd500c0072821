"""Every look at unseen problems leaves a line: a set that was looked at twenty times is a dev set."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain.runs.metrics import read_rows

LOOKS = "unseen-looks.jsonl"


def record_look(place: Path, row: Mapping[str, Any]) -> int:
    """Add a line to the looks kept in `place`, a run or an eval's directory; return how many this model has had there.

    A directory that cannot be written is left as it is: the look at a model of somebody else's counts as the first.
    """
    path = place / LOOKS
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{key: row[key] for key in ("label", "digest", "problems", "samples")},
        **{key: value for key, value in row.items() if "@" in key or key.startswith("reward")},
    }
    try:
        place.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    except OSError:
        return 1
    looks = read_rows(path)
    return sum(look["digest"] == row["digest"] and look["label"] == row["label"] for look in looks)
