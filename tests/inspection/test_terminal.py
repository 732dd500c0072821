"""Rows as a terminal shows them, and as a pipe gets them."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from posttrain.data.records import Chat, Feedback, Preference, Problem
from posttrain.inspection.row import look_at
from posttrain.inspection.terminal import legend, print_row

CHAT = Chat(
    [{"role": "user", "content": "Two\nlines?"}, {"role": "assistant", "content": "Yes."}], place="rows.jsonl:1"
)
PAIR = Preference(
    [{"role": "user", "content": "?"}],
    [{"role": "assistant", "content": "Yes."}],
    [{"role": "assistant", "content": "No."}],
    place="rows.jsonl:2",
)


def printed(record: Any, stage: str, tokenizer: Any, *, width: int = 80, colours: bool = False, **asked: Any) -> str:
    settings = {"max_prompt_tokens": None} if stage == "rlvr" else {"max_length": asked.pop("max_length", None)}
    out = io.StringIO()
    console = Console(file=out, force_terminal=colours, width=width, color_system="truecolor" if colours else None)
    print_row(console, look_at(record, 1, stage, tokenizer, settings), **asked)
    return out.getvalue()


def test_without_colours_what_is_trained_is_marked(tiny: Any) -> None:
    assert printed(CHAT, "sft", tiny) == (
        "row 1  rows.jsonl:1  21 tokens, 5 trained\n"
        "      user │ <|im_start|>user↵\n"
        "           │ Two↵\n"
        "           │ lines?<|im_end|>↵\n"
        " assistant │ <|im_start|>assistant↵\n"
        "           │ ⟦Yes.<|im_end|>↵⟧\n"
        "\n"
    )


def test_what_is_cut_is_marked_too(tiny: Any) -> None:
    assert printed(CHAT, "sft", tiny, max_length=18).splitlines()[-2:] == ["           │ ⟦Yes⟧⟨✂ .<|im_end|>↵⟩", ""]
    left_out = printed(CHAT, "sft", tiny, max_length=4)
    assert "\nleft out of training: had no trained token\n" in left_out and "⟦" not in left_out


def test_with_colours_there_are_no_marks(tiny: Any) -> None:
    text = printed(CHAT, "sft", tiny, colours=True)
    assert "⟦" not in text and "\x1b[1;32mYes.\x1b[0m" in text  # bold green
    assert "\x1b[35m<|im_start|>\x1b[0m" in text and "\x1b[32mTwo" not in text
    assert "\x1b[1;31mNo." in printed(PAIR, "dpo", tiny, colours=True)


def test_no_color_marks_in_a_terminal(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "⟦Yes." in re.sub(r"\x1b\[[0-9;]*m", "", printed(CHAT, "sft", tiny, colours=True))


def test_a_pair_stands_side_by_side_where_there_is_room(tiny: Any) -> None:
    def lines(width: int) -> list[str]:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", printed(PAIR, "dpo", tiny, colours=True, width=width))
        return [line for line in plain.splitlines() if "Yes." in line or "No." in line]

    assert len(lines(160)) == 1 and len(lines(100)) == 2
    assert lines(160)[0].index("│ No.") == 80 + 11


def test_token_borders_and_ids(tiny: Any) -> None:
    ids = tiny("Yes.", add_special_tokens=False)["input_ids"]
    text = printed(CHAT, "sft", tiny, token_ids=True)
    assert f".{str(ids[-1]).translate(str.maketrans('0123456789', '₀₁₂₃₄₅₆₇₈₉'))}<|im_end|>₂" in text
    assert all(line.startswith(" " * 9) or "│" in line for line in text.splitlines()[1:] if line)


def test_what_a_terminal_would_obey_is_written_out(tiny: Any) -> None:
    evil = Chat(
        [{"role": "user", "content": "\x1b[2J\x07[red]?\u202e\ud800"}, {"role": "assistant", "content": "\x9b31mNo"}],
        place="rows\x1b]0;.jsonl:1",
    )
    text = printed(evil, "sft", tiny) if _encodes(tiny, evil) else ""
    clean = Chat(
        [{**turn, "content": turn["content"].replace("\ud800", "")} for turn in evil.messages], None, evil.place
    )
    text += printed(clean, "sft", tiny)
    assert not re.search("[\x00-\x09\x0b-\x1f\x80-\x9f\u202e\ud800]", text)
    assert "␛[2J␇[red]?<U+202E>" in text and "<U+009B>31mNo" in text and "rows␛]0;" in text


def _encodes(tokenizer: Any, chat: Chat) -> bool:
    """Whether the tokenizer takes half a surrogate pair."""
    try:
        tokenizer(chat.messages[0]["content"])
    except Exception:
        return False
    return True


def test_a_thumb_and_what_the_grader_reads(tiny: Any) -> None:
    thumb = Feedback(PAIR.prompt, PAIR.rejected, False)
    assert printed(thumb, "kto", tiny).splitlines()[0].endswith("trained, 👎")
    problem = Problem(PAIR.prompt, {"answer": "4", "tests": ["x" * 600]})
    text = printed(problem, "rlvr", tiny)
    assert "trained" not in text and "│ answer: 4\n" in text
    assert text.rstrip().endswith("x … 104 more characters")


def test_the_legend_names_what_there_is(tiny: Any) -> None:
    console = Console(file=io.StringIO(), color_system=None)
    assert legend(console, "sft", {"max_length": 2048}, token_ids=False).plain == (
        "⟦trained⟧  ·  read only  ·  ⟨✂ cut at 2,048 tokens⟩  ·  ↵ line break"
    )
    assert "trained" not in legend(console, "eval", {"max_prompt_tokens": None}, token_ids=True).plain


def test_the_rows_of_a_split_chat_are_numbered(tiny: Any) -> None:
    chat = Chat([*CHAT.messages, *CHAT.messages])
    row = look_at(chat, 1, "sft", tiny, {"max_length": 30, "too_long": "split"})
    out = io.StringIO()
    print_row(Console(file=out, color_system=None), row)
    heads = [
        line.partition(" │")[0].strip() for line in out.getvalue().splitlines() if line[:13].strip() and "│" in line
    ]
    assert heads == ["user 1", "assistant 1", "user 2", "assistant 2"]
    assert "split into 2 rows" in out.getvalue()
