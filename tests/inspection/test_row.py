"""What is shown is what is trained: against the trainer's own rows, and against text marked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.data.records import Chat, Feedback, Preference, Problem
from posttrain.data.tokenize import OF_STAGE
from posttrain.inspection.opened import open_rows
from posttrain.inspection.row import Piece, Shown, look_at

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"


def user(said: str) -> dict[str, Any]:
    return {"role": "user", "content": said}


def assistant(said: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": said, **more}


def shown(record: Any, stage: str, tokenizer: Any, **settings: Any) -> Shown:
    limits = {"max_prompt_tokens": None} if isinstance(record, Problem) else {"max_length": None}
    return look_at(record, 1, stage, tokenizer, limits | settings)


def marked(pieces: list[Piece]) -> list[tuple[str, str, str]]:
    """(role, kind, text) of each piece; kind is trained, cut or ''."""
    return [(piece.role, "cut" * piece.cut or "trained" * piece.trained, piece.text) for piece in pieces]


def ids_of(pieces: list[Piece], *, trained: bool = False) -> list[int]:
    kept = (piece for piece in pieces if not piece.cut and (piece.trained or not trained))
    return [token.id for piece in kept for token in piece.tokens]


def test_a_chat_by_hand(tiny: Any) -> None:
    chat = Chat([user("2 + 2?"), assistant("5", weight=0), user("No."), assistant("4")])
    row = shown(chat, "sft", tiny)
    assert marked(row.texts["conversation"]) == [
        ("user", "", "<|im_start|>user\n2 + 2?<|im_end|>\n"),
        ("assistant", "", "<|im_start|>assistant\n5<|im_end|>\n"),
        ("user", "", "<|im_start|>user\nNo.<|im_end|>\n"),
        ("assistant", "", "<|im_start|>assistant\n"),
        ("assistant", "trained", "4<|im_end|>\n"),
    ]
    assert (row.trained, row.cut, row.rows, row.why) == (3, 0, 1, None)


def test_a_cut_chat_by_hand(tiny: Any) -> None:
    chat = Chat([user("?"), assistant("1 2 3 4")])
    whole = shown(chat, "sft", tiny)
    row = shown(chat, "sft", tiny, max_length=whole.tokens - 4)
    assert marked(row.texts["conversation"])[-2:] == [
        ("assistant", "trained", "1 2 3"),
        ("assistant", "cut", " 4<|im_end|>\n"),
    ]
    assert (row.cut, row.tokens) == (4, whole.tokens - 4)
    left_out = shown(chat, "sft", tiny, max_length=4)
    assert (left_out.rows, left_out.trained, left_out.tokens) == (0, 0, 4)
    assert left_out.why == "had no trained token"


@pytest.mark.parametrize(
    ("max_length", "too_long"),
    [(None, "keep_start"), (70, "keep_start"), (40, "keep_start"), (50, "keep_end"), (70, "drop")],
)
def test_shown_chats_are_the_trainers_rows(tiny: Any, max_length: int | None, too_long: str) -> None:
    chats = open_rows(str(QUICKSTART / "data" / "sft.jsonl")).records[:200]
    rows = [shown(chat, "sft", tiny, max_length=max_length, too_long=too_long) for chat in chats]
    trained = OF_STAGE["sft"](chats, tiny, max_length=max_length, too_long=too_long).rows
    kept = [row.texts["conversation"] for row in rows if row.rows]
    assert [ids_of(pieces) for pieces in kept] == [row["input_ids"] for row in trained]
    labels = [
        [token.id if piece.trained else -100 for piece in pieces if not piece.cut for token in piece.tokens]
        for pieces in kept
    ]
    assert labels == [row["labels"] for row in trained]
    for pieces in kept:  # the trained text, decoded anew
        text = "".join(piece.text for piece in pieces if piece.trained)
        assert text == tiny.decode(ids_of(pieces, trained=True))


def test_a_split_chat_shows_each_row_that_it_becomes(tiny: Any) -> None:
    chat = Chat([turn for n in range(6) for turn in (user(f"{n} and {n}?"), assistant("yes " * 5 * n + "!"))])
    row = shown(chat, "sft", tiny, max_length=30, too_long="split")
    made = OF_STAGE["sft"]([chat], tiny, max_length=30, too_long="split").rows
    assert row.rows == len(made) > 3
    pieces = row.texts["conversation"]
    assert {piece.part for piece in pieces} == set(range(len(made)))
    assert row.trained == sum(label != -100 for each in made for label in each["labels"])
    first = [token.id for piece in pieces if piece.part == 0 and not piece.cut for token in piece.tokens]
    assert first == made[0]["input_ids"]


@pytest.mark.parametrize(
    ("max_length", "too_long"),
    [(None, "keep_start"), (80, "keep_start"), (50, "keep_start"), (45, "keep_end"), (80, "drop")],
)
def test_shown_pairs_are_what_trls_collator_makes(tiny: Any, max_length: int | None, too_long: str) -> None:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    pairs = open_rows(str(QUICKSTART / "data" / "preferences.jsonl")).records[:100]
    rows = [shown(pair, "dpo", tiny, max_length=max_length, too_long=too_long) for pair in pairs]
    done = OF_STAGE["dpo"](pairs, tiny, max_length=max_length, too_long=too_long)
    kept = [row for row in rows if row.rows]
    assert len(kept) == done.kept > 10
    assert {row.why for row in rows if not row.rows} == set(done.dropped)
    mode = "keep_end" if too_long == "keep_end" else "keep_start"
    batch = DataCollatorForPreference(pad_token_id=-1, max_length=max_length, truncation_mode=mode)(done.rows)
    for half, name in enumerate(("chosen", "rejected")):
        for number, row in enumerate(kept):
            read, trained = (batch[key][half * len(kept) + number].tolist() for key in ("input_ids", "completion_mask"))
            pieces = [*row.texts["prompt"], *row.texts[name]]
            # Cut from the left, the prompt is shown as the shorter of the two answers keeps it.
            read_ids = [token for token in read if token >= 0]
            assert ids_of(pieces)[-len(read_ids) :] == read_ids
            assert too_long == "keep_end" or len(ids_of(pieces)) == len(read_ids)
            assert ids_of(pieces, trained=True) == [t for t, mask in zip(read, trained, strict=True) if mask]


@pytest.mark.parametrize(
    ("max_length", "too_long"), [(None, "keep_start"), (60, "keep_start"), (40, "keep_end"), (75, "drop")]
)
def test_shown_feedback_is_what_trls_collator_makes(tiny: Any, max_length: int | None, too_long: str) -> None:
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    records = open_rows(str(QUICKSTART / "data" / "feedback.jsonl")).records[:100]
    rows = [shown(record, "kto", tiny, max_length=max_length, too_long=too_long) for record in records]
    kept = [row for row in rows if row.rows]
    batch = DataCollatorForUnpairedPreference(pad_token_id=-1, max_length=max_length)(
        OF_STAGE["kto"](records, tiny, max_length=max_length, too_long=too_long).rows
    )
    assert [row.label for row in kept] == batch["label"].tolist()
    for row, read, trained in zip(kept, batch["input_ids"].tolist(), batch["completion_mask"].tolist(), strict=True):
        pieces = [*row.texts["prompt"], *row.texts["completion"]]
        assert ids_of(pieces) == [token for token in read if token >= 0]
        assert ids_of(pieces, trained=True) == [t for t, mask in zip(read, trained, strict=True) if mask]


def test_a_pair_has_its_prompt_once(tiny: Any) -> None:
    row = shown(Preference([user("2 + 2?")], [assistant("4")], [assistant("5")]), "dpo", tiny)
    assert marked(row.texts["prompt"]) == [
        ("user", "", "<|im_start|>user\n2 + 2?<|im_end|>\n"),
        ("assistant", "", "<|im_start|>assistant\n"),
    ]
    assert [marked(row.texts[name]) for name in ("chosen", "rejected")] == [
        [("assistant", "trained", "4<|im_end|>\n")],
        [("assistant", "trained", "5<|im_end|>\n")],
    ]


def test_a_problem_ends_where_the_model_begins(tiny: Any) -> None:
    problem = Problem([user("2 + 2?")], {"prompt": "2 + 2?", "answer": "4"})
    row = shown(problem, "rlvr", tiny)
    assert marked(row.texts["prompt"])[-1] == ("assistant", "", "<|im_start|>assistant\n")
    assert row.fields == {"answer": "4"}
    long = shown(problem, "rlvr", tiny, max_prompt_tokens=3)
    assert (long.rows, long.why) == (0, "had a prompt above 3 tokens")
    assert long.texts == row.texts


def test_tools_and_their_results_have_their_roles(qwen3: Any) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
    chat = Chat(
        [user("2 + 2?"), assistant("", tool_calls=[call]), {"role": "tool", "content": "4"}, assistant("It is 4.")],
        [tool],
    )
    pieces = shown(chat, "sft", qwen3).texts["conversation"]
    said = {role: "".join(piece.text for piece in pieces if piece.role == role) for role in {p.role for p in pieces}}
    assert set(said) == {"template", "user", "assistant", "tool"}
    assert said["template"].startswith("<|im_start|>system\n# Tools") and said["template"].endswith("<|im_end|>\n")
    assert said["user"] == "<|im_start|>user\n2 + 2?<|im_end|>\n"
    assert "<tool_response>\n4\n</tool_response>" in said["tool"]
    trained = [piece.text for piece in pieces if piece.trained]
    assert "<tool_call>" in trained[0] and trained[-1].endswith("It is 4.<|im_end|>\n")


def test_what_the_template_cannot_write_is_said(tiny: Any) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {}}}
    chat = Chat([user("2 + 2?"), assistant("", tool_calls=[call])], place="rows.jsonl:3")
    row = shown(chat, "sft", tiny)
    assert row.error and row.error.startswith("the chat template leaves out the call of add\n")
    assert (row.place, row.texts, row.rows) == ("rows.jsonl:3", {}, 0)


def test_a_thumb_is_kept_with_an_error(tiny: Any) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {}}}
    row = shown(Feedback([user("?")], [assistant("", tool_calls=[call])], False), "kto", tiny)
    assert row.error and row.label is False
