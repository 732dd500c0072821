"""What is printed is text and nothing else, rich's own colours and bars excepted."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from posttrain.plain_output import PlainStream, bare, message, plain_message_stream, plain_result_stream, print_plainly
from posttrain.visible import on_one_line, visible


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert visible("a\x1b[31mb\x07\x9b1m\n\u202ec\u061c\ud800\U000e0041") == (
        "a␛[31mb␇<U+009B>1m\n<U+202E>c<U+061C><U+D800><U+E0041>"
    )
    assert on_one_line("a\nb\t") == "a↵b␉"
    assert visible("日本 é 👩‍👩‍👧 नी") == "日本 é 👩‍👩‍👧 नी"


def test_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-in-the-environment")
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    print_plainly()
    print_plainly()  # once is enough
    text = "\x1b[2J planted-in-the-environment hf_abcdefghijklmnopqrstuvwxyz"
    print(text)
    print(text, file=sys.stderr)
    sys.stderr.writelines(["a\x1b", "b"])
    assert out.getvalue() == "␛[2J *** hf_abcdefghijklmnopqrstuvwxyz\n"
    assert err.getvalue() == "␛[2J *** ***\na␛b"
    assert bare(sys.stdout) is out


def test_a_traceback_is_cleaned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "planted-in-the-environment")
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", plain_message_stream(err))
    try:
        raise ValueError("\x1b]0;title\x07 planted-in-the-environment")
    except ValueError as error:
        sys.__excepthook__(type(error), error, error.__traceback__)
    assert "␛]0;title␇ ***" in err.getvalue() and "ValueError" in err.getvalue()


def test_rich_draws_below_and_others_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal rich puts streams of its own in place while it draws a bar; ours go on top of them."""
    from rich.console import Console
    from rich.progress import Progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", plain_message_stream(terminal))
    console = Console(stderr=True, force_terminal=True)
    console.print("[red]red[/red]")
    assert "\x1b[31m" in terminal.getvalue()
    with Progress(console=console) as bar:
        print_plainly()
        bar.add_task("x", total=1)
        print("evil \x1b]8;;http://evil\x1b\\link", file=sys.stderr)
        Console(stderr=True, force_terminal=True).print("more")
    assert isinstance(sys.stderr, PlainStream)
    assert "␛]8;;http://evil␛\\link" in terminal.getvalue() and "\x1b]8" not in terminal.getvalue()
    assert "␛[" not in terminal.getvalue().replace("␛]8;;http://evil␛\\link", "")  # rich's own went through


def test_progress_labels_are_not_markup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from posttrain import progress as module

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", plain_message_stream(terminal))
    with module.progress("reading [red]a\x1b[5m\n[/red].jsonl", 2) as advance:
        advance()
        advance()
    assert "reading [red]a␛[5m↵[/red].jsonl" in terminal.getvalue() and "\x1b[5m" not in terminal.getvalue()


def test_results_keep_what_rows_say() -> None:
    out = io.StringIO()
    stream = plain_result_stream(out)
    assert plain_message_stream(stream) is stream
    print("AKIAIOSFODNN7EXAMPLE", file=stream)
    assert out.getvalue() == "AKIAIOSFODNN7EXAMPLE\n"
    assert message("AKIAIOSFODNN7EXAMPLE") == "***"
