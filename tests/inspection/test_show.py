"""The command `data show`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.inspection.opened import open_rows
from posttrain.inspection.show import look_at_rows, show

GOOD = [
    {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]} for n in range(9)
]
CALL = {"function": {"name": "add", "arguments": "{}"}}
BROKEN = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [CALL]}]}


def shown(name: str, opening: dict[str, Any] | None = None, **asked: Any) -> str:
    out = io.StringIO()
    show(open_rows(name, **opening or {}), out, **asked)
    return out.getvalue()


def places(text: str) -> list[str]:
    return [line.split("  ")[1] for line in text.splitlines() if line.startswith("row ")]


def test_three_rows_or_as_many_as_asked_for(rows_file: Any, capsys: Any) -> None:
    name = rows_file(*GOOD)
    assert places(shown(name)) == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]
    assert places(shown(name, at=5)) == ["rows.jsonl:5"]
    assert places(shown(name, place="rows.jsonl:8", count=2)) == ["rows.jsonl:8", "rows.jsonl:9"]
    assert "1 of 9 rows, from 5 on\n" in capsys.readouterr().err
    assert places(shown(name, grep="7!")) == ["rows.jsonl:8"]
    assert len(places(shown(name, seed=1, count=4))) == 4
    assert "4 of 9 rows, drawn at random (seed 1)\n" in capsys.readouterr().err


def test_a_row_that_cannot_be_rendered_does_not_hide_the_others(rows_file: Any) -> None:
    text = shown(rows_file(GOOD[0], BROKEN, GOOD[1]))
    assert places(text) == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]
    assert "cannot be shown: the chat template leaves out the call of add\n" in text and "⟦1!" in text


def test_rows_that_all_cannot_be_rendered_are_an_error(rows_file: Any) -> None:
    with pytest.raises(UserError) as error:
        shown(rows_file(BROKEN, BROKEN))
    assert str(error.value).startswith("rows.jsonl: none of the 2 rows can be rendered\n  --model NAME")


def test_json_says_all_of_it(rows_file: Any) -> None:
    said = json.loads(shown(rows_file(GOOD[3], BROKEN), as_json=True))
    assert (said["stage"], said["total"], said["model"]) == ("sft", 2, "builtin:tiny")
    row, broken = said["rows"]
    assert [piece["text"] for piece in row["texts"]["conversation"] if piece["trained"]] == ["3!<|im_end|>\n"]
    assert {"turn", "role", "trained", "cut", "part", "text", "ids"} == set(row["texts"]["conversation"][0])
    assert sum(len(piece["ids"]) for piece in row["texts"]["conversation"]) == row["tokens"]
    assert broken["error"].startswith("the chat template") and broken["training_rows"] == 0


def test_a_page_is_a_sample_that_says_so(rows_file: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert shown(rows_file(*GOOD), html=path, count=4) == f"{path}\n"
    assert "4 of 9 rows, drawn at random (seed 0)" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl", "page.html"]


def test_a_recipe_shows_its_own_system_prompt(rows_file: Any) -> None:
    rows_file(GOOD[0])
    Path("sft.yaml").write_text("stage: sft\nout: run\ndata: {system: Be brief., train: [{path: rows.jsonl}]}\n")
    assert "    system │ <|im_start|>system↵\n           │ Be brief.<|im_end|>↵\n" in shown("sft.yaml")


def test_a_template_that_ends_no_turn_is_refused_at_once(rows_file: Any) -> None:
    rows_file(GOOD[0])
    Path("t.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    recipe = "stage: sft\nout: run\nmodel: {chat_template: t.jinja}\ndata: {train: [{path: rows.jsonl}]}\n"
    Path("sft.yaml").write_text(recipe)
    with pytest.raises(UserError, match="would never stop"):
        next(look_at_rows(open_rows("sft.yaml"), [0]))


def test_the_tokenizer_alone_is_enough(rows_file: Any, tiny: Any) -> None:
    tiny.save_pretrained("tokenizer")
    assert not Path("tokenizer/config.json").exists()
    assert "⟦0!" in shown(rows_file(GOOD[0]), {"model": "tokenizer"})


def posttrain(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "posttrain", *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_the_command(rows_file: Any) -> None:
    rows_file(*GOOD)
    done = posttrain("data", "show", "rows.jsonl", "--at", "2", "--tokens")
    assert done.returncode == 0 and "⟦1" in done.stdout and "1 of 9 rows, from 2 on" in done.stderr
    assert "torch" not in done.stderr
    done = posttrain("data", "show", "rows.jsonl", "--html", "page.html")
    assert (done.returncode, done.stdout) == (0, "page.html\n")
    done = posttrain("data", "show", "rows.jsonl", "--html", "page.html")
    assert done.returncode == 2 and "page.html: is there already\n  --force writes over it." in done.stderr
    assert posttrain("data", "show", "rows.jsonl", "--html", "page.html", "--force").returncode == 0
    done = posttrain("data", "show", "rows.jsonl", "--html", "other.html", "--json")
    assert done.returncode == 2 and not Path("other.html").exists()
    done = posttrain("data", "show", "rows.jsonl", "--html", "nowhere/page.html")
    assert (done.returncode, done.stderr) == (2, "error: --html: there is no folder nowhere\n  Make it first.\n")


@pytest.mark.slow
def test_no_weights_are_loaded(rows_file: Any) -> None:
    code = (
        "import io, sys; from posttrain.inspection.opened import open_rows\n"
        "from posttrain.inspection.show import show\n"
        f"show(open_rows({rows_file(GOOD[0])!r}), io.StringIO())\n"
        "print([name for name in ('posttrain.model.load', 'trl', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
