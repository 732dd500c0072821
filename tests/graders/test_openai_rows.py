"""OpenAI's rows as they are, with OpenAI's graders: read, checked before a model is there, and refused by name."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.load import load_data
from posttrain.data.records import Problem
from posttrain.errors import UserError, UserErrors
from posttrain.graders.template import render
from posttrain.recipe.check import check_recipe
from posttrain.recipe.schema import Data

ROW = {
    "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Which city?"}],
    "tools": [{"type": "function", "function": {"name": "look_up"}}],
    "reference_cities": [{"name": "Paris", "people": 2}],
}


def read(folder: Path, rows: list[dict[str, Any]]) -> list[Problem]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_data(Data.model_validate({"train": [{"path": str(path)}]}), "rlvr", seed=1)
    return [record for record in loaded.train if isinstance(record, Problem)]


@pytest.mark.parametrize("row", [ROW, {"item": ROW}])
def test_a_row_is_an_item(tmp_path: Path, row: dict[str, Any]) -> None:
    (problem,) = read(tmp_path, [row])
    assert [message["role"] for message in problem.prompt] == ["system", "user"]
    assert render("{{item.reference_cities[0].name}} {{item.tools.0.function.name}}", problem.item, {}) == (
        "Paris look_up"
    )
    assert render("{{item.messages[1].content}}", problem.item, {}) == "Which city?"
    assert "messages" not in problem.fields  # so that the digest of a data set stays what it was


def test_the_last_message_is_the_users(tmp_path: Path) -> None:
    answered = [*ROW["messages"], {"role": "assistant", "content": "Paris."}]  # type: ignore[misc]
    with pytest.raises(UserError, match="the prompt must end with a user"):
        read(tmp_path, [ROW | {"messages": answered}])


def recipe(folder: Path, rows: Path, grader: dict[str, Any]) -> Path:
    path = folder / "rlvr.yaml"
    path.write_text(
        f"stage: rlvr\nout: runs/a\ndata: {{train: [{{path: {rows}}}]}}\ngraders:\n  - {json.dumps(grader)}\n"
    )
    return path


def test_published_rows_and_their_grader(shared_data: Path, tmp_path: Path) -> None:
    rft = shared_data / "rft"
    grader = json.loads((rft / "clause_matching_multi_grader.json").read_text())
    report = check_recipe(recipe(tmp_path, rft / "clause_matching_validation.jsonl.gz", grader))
    assert "grader clause_match_grader: tried on 40 problems" in report


def test_a_variable_that_rows_lack_is_refused_by_name_and_row(shared_data: Path, tmp_path: Path) -> None:
    """The grader as it was published in July 2025, which read fields that its rows do not have."""
    rft = shared_data / "rft"
    grader = json.loads((rft / "clause_matching_multi_grader.json").read_text())
    check = grader["graders"]["clause_string_check"]
    check["reference"] = "{{item.reference_answer.clause_type}}"
    with pytest.raises(UserErrors) as raised:
        check_recipe(recipe(tmp_path, rft / "clause_matching_validation.jsonl.gz", grader))
    said = [str(error) for error in raised.value.errors]
    assert len(said) == 11  # ten rows, and how many more
    missing = (
        "clause_string_check: {{ item.reference_answer.clause_type }}: the problem has no field 'reference_answer'"
    )
    places = {message.partition(f": {missing}")[0] for message in said if missing in message}
    assert len(places) == 10
    assert all(re.search(r"clause_matching_validation\.jsonl\.gz:\d+$", place) for place in places)


@pytest.mark.parametrize(("name", "rows"), [("countdown_train_100.jsonl", 100), ("zava_rft_train.jsonl.gz", 10)])
def test_published_rows_are_read(shared_data: Path, name: str, rows: int) -> None:
    path = shared_data / "rft" / name
    loaded = load_data(Data.model_validate({"train": [{"path": str(path)}]}), "rlvr", seed=1)
    assert len(loaded.train) == rows
    with (gzip.open if name.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
        keys = {key for line in file for key in json.loads(line)}
    for record in loaded.train:
        assert isinstance(record, Problem)
        assert keys <= record.item.keys()
