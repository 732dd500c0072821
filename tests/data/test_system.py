"""The recipe's system prompt: added, or in place of a row's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from posttrain.data.load import load_data
from posttrain.data.records import Chat, Feedback, Preference, Problem, Record
from posttrain.data.system import with_system
from posttrain.recipe.schema import Data, SystemPrompt

OWN = {"role": "system", "content": "own"}
ASKED, SAID = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}


def records(*opened: dict[str, Any]) -> list[Record]:
    prompt = [*opened, ASKED]
    return [Chat([*prompt, SAID]), Preference(prompt, [SAID], []), Feedback(prompt, [SAID], True), Problem(prompt)]


def opening(record: Record) -> list[str]:
    messages = record.messages if isinstance(record, Chat) else record.prompt
    return [message["content"] for message in messages if message["role"] == "system"]


@pytest.mark.parametrize(
    ("system", "without", "with_own"),
    [
        (None, [], ["own"]),
        ("new", ["new"], ["own"]),
        (SystemPrompt(text="new"), ["new"], ["own"]),
        (SystemPrompt(text="new", replace=True), ["new"], ["new"]),
        (SystemPrompt(text="", replace=True), [], []),
    ],
)
def test_added_or_replaced(system: str | SystemPrompt | None, without: list[str], with_own: list[str]) -> None:
    for plain, opened in zip(records(), records(OWN), strict=True):
        assert opening(with_system(plain, system)) == without
        assert opening(with_system(opened, system)) == with_own
        assert opening(opened) == ["own"]  # the record given is not changed


def test_a_recipe_replaces_system_turns(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"system": "own", "prompt": "2 + 2?", "completion": "4"}\n'
        '{"messages": [{"role": "developer", "content": "own"}, {"role": "user", "content": "3 + 3?"}], '
        '"completion": "6"}\n'.replace('"messages"', '"prompt"')
    )
    data = Data(train=[{"path": str(rows)}], system={"text": "new", "replace": True})
    assert [opening(record) for record in load_data(data, "sft", seed=1).train] == [["new"], ["new"]]


def test_an_empty_text_that_does_not_replace_is_refused() -> None:
    with pytest.raises(ValidationError, match="changes nothing"):
        SystemPrompt(text=" ")
