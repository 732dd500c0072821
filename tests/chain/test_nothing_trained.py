"""Rows that would train nothing are counted by reason, and are an error with exit code 2 when they are all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chain.conftest import environment

pytestmark = pytest.mark.slow

# One process for all: what takes time is to import torch.
RUN = """
import contextlib, io, json, sys
from posttrain.cli import _run

for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = _run(json.loads(line), False)
    print(json.dumps({"code": code, "said": said.getvalue()}), flush=True)
"""

LONG = "one two three four five six seven eight nine ten " * 3
SHORT = {"train": {"max_length": 24, "max_steps": 1}}


def chat(prompt: str, answer: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer, **more}]
    return {"messages": turns}


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def thumb(prompt: str, completion: str, label: bool) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "label": label}


def said_by(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


KEEP_END, DROP = {**SHORT, "data": {"too_long": "keep_end"}}, {**SHORT, "data": {"too_long": "drop"}}
TOLD = "no row is left to train on: kept 0 of 2: 2"
UNUSABLE = r"none of the 2 rows can be used (2: {})".format
NUMBER = {"graders": [{"type": "number"}], "signal": {"problems": 0}}

# stage, a row (twice in the file, each with another number), settings, what is said
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "an empty answer": ("sft", chat("hi {}", ""), {}, UNUSABLE("an empty answer")),
    "every answer masked": ("sft", chat("hi {}", "yes", weight=0), {}, UNUSABLE("every answer has weight 0")),
    "the answer cut away": ("sft", chat(LONG + "{}", "yes"), SHORT, f"{TOLD} had no trained token"),
    "the answer's end cut away": (
        "sft",
        {"messages": [*chat("hi {}", "yes")["messages"], said_by("user", LONG)]},
        KEEP_END,
        f"{TOLD} had no trained token",
    ),
    "longer than asked for": ("sft", chat(LONG + "{}", "yes"), DROP, f"{TOLD} longer than max_length"),
    "the same answer twice": ("dpo", pair("hi {}", "yes", "yes"), {}, UNUSABLE("chosen and rejected are the same")),
    "an empty chosen answer": ("dpo", pair("hi {}", "", "yes"), {}, UNUSABLE("an empty chosen answer")),
    "two prompts": (
        "dpo",
        {
            "chosen": [*chat("hi {}", "oh")["messages"], *chat("yes", "so")["messages"]],
            "rejected": [*chat("hi {}", "oh")["messages"], *chat("no", "so")["messages"]],
        },
        {},
        UNUSABLE("chosen and rejected answer different prompts"),
    ),
    "a pair's prompt alone": (
        "dpo",
        pair(LONG + "{}", "yes", "no"),
        SHORT,
        f"{TOLD} had a prompt that fills max_length",
    ),
    "a pair that is the same once cut": (
        "dpo",
        pair("hi {}", LONG + "yes", LONG + "no"),
        SHORT,
        f"{TOLD} differed only after max_length",
    ),
    "a pair with the same end": (
        "dpo",
        pair("hi {}", "yes " + LONG, "no " + LONG),
        KEEP_END,
        f"{TOLD} differed only before the last max_length tokens",
    ),
    "a long pair": ("dpo", pair("hi {}", LONG, "no"), DROP, f"{TOLD} longer than max_length"),
    "a thumb up for nothing": ("kto", thumb("hi {}", "", True), {}, UNUSABLE("a thumb up for an empty answer")),
    "a thumb's prompt alone": (
        "kto",
        thumb(LONG + "{}", "yes", True),
        SHORT,
        f"{TOLD} had a prompt that fills max_length",
    ),
    "a long thumb": ("kto", thumb("hi {}", LONG, False), DROP, f"{TOLD} longer than max_length"),
    "a long problem": (
        "rlvr",
        {"question": LONG + "{}", "answer": "4"},
        {**NUMBER, "rollout": {"max_prompt_tokens": 24}},
        f"{TOLD} had a prompt above 24 tokens",
    ),
    "a problem that no grader can grade": (
        "rlvr",
        {"question": "2 + 2? {}"},
        NUMBER,
        "16.jsonl:1: the problem has no field 'answer'",
    ),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the exit code of each case's command, and what it said."""
    folder = tmp_path_factory.mktemp("nothing")
    commands = []
    for number, (stage, row, settings, _) in enumerate(CASES.values()):
        lines = [json.dumps(row).replace("{}", str(each)) + "\n" for each in (1, 2)]
        (folder / f"{number}.jsonl").write_text("".join(lines))
        document = {"stage": stage, "out": f"runs/{number}", "model": {"path": "builtin:tiny"}, **settings}
        document["data"] = {"train": [{"path": f"{number}.jsonl"}], **settings.get("data", {})}
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(document))
        commands.append(json.dumps([stage, f"{number}.yaml"]) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env=environment(),
        input="".join(commands),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not [*folder.glob("runs/*/final")]
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_run_on_such_rows_alone_is_refused_with_the_reason_and_their_number(ended, case: str) -> None:
    assert CASES[case][3] in ended[case]["said"]
    assert ended[case]["said"].count("error: ") == 1
    assert ended[case]["code"] == 2


def test_a_command_of_its_own_ends_so_too(posttrain, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(chat(LONG, "yes")) + "\n")
    document = {"stage": "sft", "out": "run", "data": {"train": [{"path": "rows.jsonl"}]}, **SHORT}
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(document))
    done = posttrain("sft", "sft.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: no row is left to train on: kept 0 of 1: 1 had no trained token" in done.stderr
