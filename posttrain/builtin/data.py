"""Write the quickstart's data sets: `python -m posttrain.builtin.data --out DIR`.

Every problem belongs to one set alone (`tasks.split_of`), and none to the base model's training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from posttrain.builtin.tasks import (
    NEW_STORIES,
    STORIES,
    Habits,
    draw_chat,
    draw_problem,
    draw_skill,
    ramble,
    solution,
)

Row = dict[str, Any]

# What the writers of the SFT data do: always the asked line, and otherwise what the base model does.
SFT = Habits(worked=0.45, line=1.0, rambling=0.45)


class Replies(NamedTuple):
    """A prompt with two replies that differ in what comes after the answer, and whether that answer is right."""

    prompt: str
    plain: str
    rambling: str
    right: bool


def draw_replies(rng: Random, split: str) -> Replies:
    """A sum of `split` in nine of ten cases, else another skill."""
    if rng.random() < 0.1:
        prompt, plain = draw_skill(rng)
        return Replies(prompt, plain, f"{plain}\n{ramble(rng)}", True)
    problem = draw_problem(rng, split, STORIES)
    plain, number = solution(rng, problem, SFT)
    return Replies(problem.question, plain, f"{plain}\n{ramble(rng, number)}", number == problem.answer)


def message(role: str, content: str) -> list[Row]:
    """A list of one message."""
    return [{"role": role, "content": content}]


def sft(rng: Random) -> Row:
    """A chat; its sums end with the asked line."""
    return {"messages": draw_chat(rng, "sft", STORIES, SFT)}


def preference(rng: Random) -> Row:
    """A pair that differs in manner alone: chosen is plain, rejected rambles."""
    replies = draw_replies(rng, "preferences")
    return {
        "prompt": message("user", replies.prompt),
        "chosen": message("assistant", replies.plain),
        "rejected": message("assistant", replies.rambling),
    }


def feedback(rng: Random) -> Row:
    """A thumb: down for rambling and, where the user looks, for a wrong number; one in thirty is a slip."""
    replies = draw_replies(rng, "feedback")
    plain = rng.random() < 0.75
    noticed = not replies.right and rng.random() < 0.25
    up = plain and not noticed
    return {
        "prompt": message("user", replies.prompt),
        "completion": message("assistant", replies.plain if plain else replies.rambling),
        "label": up if rng.random() < 0.97 else not up,
    }


def prompt_of(row: Row) -> str:
    """All that comes before the reply, as a key that tells prompts apart."""
    return json.dumps(row["messages"][:-1] if "messages" in row else row["prompt"])


def draw_rows(rng: Random, draw: Callable[[Random], Row], count: int) -> list[Row]:
    """`count` rows with no prompt twice."""
    rows: dict[str, Row] = {}
    while len(rows) < count:
        row = draw(rng)
        rows.setdefault(prompt_of(row), row)
    return list(rows.values())


def problems(rng: Random, split: str, usual: int, new: int = 0) -> list[Row]:
    """`usual` problems in the stories that every stage sees, then `new` ones in stories that none saw.

    No two have the same numbers.
    """
    rows: dict[tuple[int, ...], Row] = {}
    while len(rows) < usual + new:
        kind, stories = ("usual", STORIES) if len(rows) < usual else ("new", NEW_STORIES)
        problem = draw_problem(rng, split, stories)
        row = {"prompt": problem.question, "answer": str(problem.answer), "story": kind}
        rows.setdefault(tuple(sorted(map(abs, problem.numbers))), row)
    return list(rows.values())


DATA_SETS: dict[str, Callable[[Random], list[Row]]] = {
    "sft": lambda rng: draw_rows(rng, sft, 1000),
    "preferences": lambda rng: draw_rows(rng, preference, 400),
    "feedback": lambda rng: draw_rows(rng, feedback, 600),
    "problems": lambda rng: problems(rng, "problems", 400),
    "dev": lambda rng: problems(rng, "dev", 100),
    "unseen": lambda rng: problems(rng, "unseen", 150, 50),
}


def write(out: Path) -> None:
    """Write every data set to `out` as `NAME.jsonl`; the same bytes every time."""
    out.mkdir(parents=True, exist_ok=True)
    for name, make in DATA_SETS.items():
        lines = [json.dumps(row) + "\n" for row in make(Random(name))]
        (out / f"{name}.jsonl").write_bytes("".join(lines).encode())


def main() -> None:
    """Read the arguments and write the data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
