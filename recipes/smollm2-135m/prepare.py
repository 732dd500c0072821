"""Make this recipe's data from OpenAI's grade-school-math repository (MIT), downloaded beforehand:

    python prepare.py GSM8K_DIR data

GSM8K_DIR holds train.jsonl, test.jsonl and example_model_solutions.jsonl from
github.com/openai/grade-school-math (grade_school_math/data), also accepted gzipped and with `gsm8k_` in front.

    sft.jsonl           the first problems of train, with their written solutions
    problems.jsonl      the next ones, for rlvr: question and answer
    dev.jsonl           the last ones, looked at while training
    preferences.jsonl   model solutions of the first 1,000 test problems: a right one over a wrong one
    feedback.jsonl      the same model solutions, each with a thumb: is_correct
    unseen.jsonl        the other 319 test problems, which no stage trains on
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ASK = "\n\nThink step by step, then end with a line like: #### 42"
TRAINED_TEST_PROBLEMS = 1000
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def read(folder: Path, *names: str) -> list[dict[str, Any]]:
    """Return the rows of the first of `names` that `folder` has."""
    for name in names:
        for path in (folder / name, folder / f"gsm8k_{name}"):
            for found, opener in ((path, open), (path.with_name(path.name + ".gz"), gzip.open)):
                if found.exists():
                    with opener(found, "rt", encoding="utf-8") as file:
                        return [json.loads(line) for line in file if line.strip()]
    raise SystemExit(f"{folder} has none of: {', '.join(names)}")


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows as JSONL and say how many."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    print(f"{path}: {len(lines):,} rows")


def solution(text: str) -> str:
    """Return a solution without GSM8K's calculator notes, its last line in the form `#### 42`."""
    plain = re.sub(r"<<[^<>]*>>", "", text).strip()
    return re.sub(r"\n?A: ?(?=[^\n]*$)", "\n#### ", plain)


def short(row: dict[str, Any], most: int) -> bool:
    """Tell whether a train problem and its solution are at most `most` characters together."""
    return len(row["question"]) + len(row["answer"]) <= most


def problem(row: dict[str, Any]) -> dict[str, str]:
    """Return a question with its answer."""
    return {"prompt": row["question"] + ASK, "answer": row["answer"].rsplit("####", 1)[1].strip()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gsm8k", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--longest", type=int, default=10_000, help="characters of question and solution together")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    train = [row for row in read(options.gsm8k, "train.jsonl") if short(row, options.longest)]
    test = read(options.gsm8k, "test.jsonl")
    solved = read(options.gsm8k, "example_model_solutions.jsonl", "model_solutions.jsonl")[:TRAINED_TEST_PROBLEMS]
    dev, rest = train[-200:], train[:-200]
    sft, rl = rest[: len(rest) // 2], rest[len(rest) // 2 :]

    write(
        options.out / "sft.jsonl",
        ({"prompt": r["question"] + ASK, "completion": solution(r["answer"])} for r in sft),
    )
    write(options.out / "problems.jsonl", map(problem, rl))
    write(options.out / "dev.jsonl", map(problem, dev))
    write(options.out / "unseen.jsonl", map(problem, test[TRAINED_TEST_PROBLEMS:]))

    pairs, thumbs = [], []
    for row in solved:
        prompt = row["question"] + ASK
        tried = [row[model] for model in MODELS]
        tried = [one for one in tried if len(prompt) + len(one["solution"]) <= options.longest]
        right = [solution(one["solution"]) for one in tried if one["is_correct"]]
        wrong = [solution(one["solution"]) for one in tried if not one["is_correct"]]
        if right and wrong:
            pairs.append({"prompt": prompt, "chosen": right[-1], "rejected": wrong[0]})
        thumbs += [
            {"prompt": prompt, "completion": solution(one["solution"]), "label": one["is_correct"]} for one in tried
        ]
    write(options.out / "preferences.jsonl", pairs)
    write(options.out / "feedback.jsonl", thumbs)


if __name__ == "__main__":
    main()
