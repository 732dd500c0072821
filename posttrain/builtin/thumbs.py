"""Write the log of a made-up endpoint with its users' thumbs: `python -m posttrain.builtin.thumbs --out log.jsonl`.

The endpoint answers as the base model does: often without the line that was asked for, often with rambling. Its users
give a thumb up for a right number in the asked line with nothing after it; one thumb in thirty is a slip.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

from posttrain.builtin.tasks import STORIES, Habits, draw_problem, ramble, solution

Row = dict[str, Any]

ROWS, UP, USERS = 2000, 0.8, 60
_CHANGED, _REPEATED = 120, 80  # of the rows
_SLIPS = 1 / 30
_WELL = Habits(worked=1.0, line=1.0)
_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def draw_log(rng: Random) -> list[Row]:
    """The log's rows in the order they were written: prompt, response, thumb, user, time.

    Of the verdicts that stand four in five are up, as happy users vote more often. Some rows come twice, and some
    users change their mind, in a later row.
    """
    wanted = [True] * round(UP * (ROWS - _CHANGED - _REPEATED))
    wanted += [False] * (ROWS - _CHANGED - _REPEATED - len(wanted))
    rng.shuffle(wanted)
    users = [f"user-{number}" for number in range(USERS)]
    rows = [_draw(rng, up, rng.choice(users)) for up in wanted]
    first = rng.sample(rows, _CHANGED + _REPEATED)
    for index, row in enumerate(first):
        rows.append(dict(row))
        if index < _CHANGED:  # what came first was a hasty thumb
            row["thumb"] = "down" if row["thumb"] == "up" else "up"
    for minute, row in enumerate(rows):
        row["time"] = (_START + timedelta(minutes=minute)).isoformat()
    return rows


def _draw(rng: Random, up: bool, user: str) -> Row:
    problem = draw_problem(rng, "feedback", STORIES)
    good = up if rng.random() >= _SLIPS else not up
    if good:
        response, _ = solution(rng, problem, _WELL)
    else:
        habits = Habits(worked=0.2, line=rng.choice([0.0, 1.0]))
        response, number = solution(rng, problem, habits)
        if number == problem.answer or rng.random() < 0.5:
            response = f"{response}\n{ramble(rng, number)}"
    return {"prompt": problem.question, "response": response, "thumb": "up" if up else "down", "user": user}


def write(out: Path) -> None:
    """Write the log to `out` as JSONL; the same bytes every time."""
    out.write_bytes("".join(json.dumps(row) + "\n" for row in draw_log(Random("thumbs"))).encode())


def main() -> None:
    """Read the arguments and write the log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
