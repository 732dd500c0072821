"""From SOURCE|RECIPE to records, stage and settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.inspection.opened import Opened, open_rows

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"
ASKED, SAID = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}

STAGES: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": [ASKED, SAID]}, "sft", ""),
    ({"messages": [ASKED]}, "rlvr", ""),  # nothing to imitate
    ({"messages": [ASKED, SAID], "label": True}, "kto", "; --stage sft would read them too"),
    ({"prompt": "2 + 2?", "completion": "4"}, "sft", "; --stage rlvr would read them too"),
    ({"prompt": "2 + 2?", "completion": "4", "label": 0}, "kto", "; --stage sft would read them too"),
    ({"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}, "dpo", ""),
    ({"question": "2 + 2?", "answer": "4"}, "rlvr", ""),
    ({"instruction": "Add.", "input": "2, 2", "output": "4"}, "sft", ""),
    ({"item": {"question": "2 + 2?", "answer": "4"}}, "rlvr", ""),
]


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_table_says_each_stage_by_its_columns(tmp_path: Path) -> None:
    for number, (row, stage, also) in enumerate(STAGES):
        opened = open_rows(written(tmp_path / f"{number}.jsonl", row))
        assert (opened.stage, opened.notes[0]) == (stage, f"stage: {stage}, from the columns{also}")
        assert opened.notes[1] == "tokenizer: builtin:tiny; --model names another"


def test_a_source_keeps_its_order_and_takes_the_length_that_recipes_begin_with(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "completion": str(n)} for n in range(50)]
    opened = open_rows(written(tmp_path / "rows.jsonl", *rows))
    assert [record.place.rpartition(":")[2] for record in opened.records] == [str(n) for n in range(1, 51)]
    assert (opened.settings["max_length"], opened.settings["too_long"]) == (2048, "keep_start")
    assert open_rows(opened.name, max_length=8).settings["max_length"] == 8


def test_options_of_a_source(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {"q": "2 + 2?", "a": "4", "prompt": "other"})
    opened = open_rows(path, stage="sft", columns=["prompt=q", "completion=a"], format="prompt_completion")
    assert [turn["content"] for turn in opened.records[0].messages] == ["2 + 2?", "4"]  # type: ignore[union-attr]


def recipe(name: str, **asked: Any) -> Opened:
    return open_rows(str(QUICKSTART / name), model="builtin:tiny", **asked)


def test_a_recipe_gives_what_it_trains_on(tmp_path: Path) -> None:
    opened = recipe("sft.yaml", overrides=["train.max_length=64", "data.too_long=drop"])
    assert (opened.stage, opened.part) == ("sft", "train")
    assert (opened.settings["max_length"], opened.settings["too_long"]) == (64, "drop")
    dev = recipe("sft.yaml", part="dev")
    assert len(opened.records) + len(dev.records) == 1000
    assert (recipe("eval.yaml").part, len(recipe("eval.yaml").records)) == ("unseen", 200)
    assert recipe("rlvr.yaml", overrides=["rollout.max_prompt_tokens=9"]).settings["max_prompt_tokens"] == 9
    problems = f"data.problems=[{{path: {QUICKSTART}/data/dev.jsonl}}]"
    looked = recipe("sft.yaml", part="problems", overrides=[problems, "graders=[{type: number}]"])
    assert (looked.stage, len(looked.records)) == ("rlvr", 100)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("rows.jsonl", {"part": "dev"}, "--part: goes with a recipe, and rows.jsonl is a source"),
        ("sft.yaml", {"columns": ["a=b"]}, "--columns: goes with a source, and sft.yaml is a recipe"),
        ("rows.jsonl", {"columns": ["prompt"]}, "--columns prompt: not of the form ours=theirs"),
        ("rows.jsonl", {"stage": "stf"}, "--stage: no stage 'stf'. Did you mean 'sft'?"),
        ("rows.jsonl", {"stage": "sft"}, "rows.jsonl:1: the row fits no sft format (columns: prompt, answer)"),
        ("rows.jsonl", {"model": "builtin:tny"}, "--model: there is no built-in model 'builtin:tny'. Did you mean"),
        ("odd.jsonl", {}, "odd.jsonl:1: the row fits no stage's format (columns: text)"),
        ("broken.jsonl", {}, "broken.jsonl:1: messages[0]: unknown role 'robot'."),
        ("sft.yaml", {"part": "problems"}, "sft.yaml:5 data.problems: the recipe has no problems rows\n  --part train"),
        ("sft.yaml", {"part": "tarin"}, "--part: there is no part 'tarin'"),
        ("unmade.yaml", {}, "--model NAME takes another model's tokenizer"),
    ],
)
def test_what_is_refused(
    name: str, asked: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("rows.jsonl"), {"prompt": "2 + 2?", "answer": "4"})
    written(Path("odd.jsonl"), {"text": "4"})
    written(Path("broken.jsonl"), {"messages": [{"role": "robot", "content": "4"}]})
    written(Path("chats.jsonl"), {"messages": [ASKED, SAID]})
    recipe = "stage: sft\nout: run\nmodel:\n  path: {}\ndata: {{train: [{{path: chats.jsonl}}]}}\n"
    Path("sft.yaml").write_text(recipe.format("builtin:tiny"))
    Path("unmade.yaml").write_text(recipe.format("runs/sft"))
    with pytest.raises(UserError) as error:
        open_rows(name, **asked)
    assert said in str(error.value)


def test_nothing_heavy_is_loaded_to_open_rows() -> None:
    code = (
        "import sys; from posttrain.inspection.opened import open_rows\n"
        f"open_rows({str(QUICKSTART / 'data' / 'sft.jsonl')!r})\n"
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
