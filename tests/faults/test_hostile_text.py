# ruff: noqa: E501  (tables of texts)
"""Text that is made to be obeyed, in every place that a stranger fills: it is shown, and does nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from posttrain.plain_output import plain_message_stream, plain_result_stream
from posttrain.visible import visible

EVIL = [
    "\x1b[31mred\x1b[0m",  # a colour
    "\x1b[2J\x1b[H",  # the screen cleared
    "\x1b]0;owned\x07",  # the window's title
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",  # a link under other words
    "\x1b]52;c;cm0gLXJmIC8=\x07",  # the clipboard
    "\x1bP$q\x1b\\\x1b[6n\x1b[c",  # answers typed into the shell
    "\x9b31mred \x9d0;owned\x9c",  # the same by C1 controls
    "all good\rerror: not at all\x08\x08",  # overwritten
    "\u202egnp.exe\u202c \u2066hidden\u2069 \u200f\u061c",  # turned around
    "a\u200bb\ufeffc\U000e0041",  # not seen
    "[red]markup[/red] [link=http://evil.example]x[/link] [bold",
    "<script>window.evil=1</script><img src=x onerror=evil()>",
    "</script><script>evil()</script><!-- ]]>",
    "{{ 7*7 }} {% raw %} ${7*7}",
    "../../../../tmp/evil /etc/passwd ..\\..\\x",
    "a\x00b\x7f",
]
# What a terminal would obey, or what would not be seen.
OBEYED = {
    chr(code)
    for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x61C)
}
OBEYED -= {"\n"}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command as the program does; give its exit code and what it said. All of it must be plain."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, codes: tuple[int, ...] = (0,)) -> tuple[int, str, str]:
        from posttrain.cli import _run

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "stdout", plain_result_stream(sys.stdout))
            patched.setattr(sys, "stderr", plain_message_stream(sys.stderr))
            code = _run([str(argument) for argument in arguments], False)
        said = capfd.readouterr()
        for text in said:
            assert not OBEYED & set(text), (arguments, sorted(map(hex, map(ord, OBEYED & set(text)))), text[:2000])
        assert code in codes, (arguments, said.err)
        return code, said.out, said.err

    return run


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    turns = [
        [
            {"role": "system", "content": evil},
            {"role": "user", "content": evil},
            {"role": "assistant", "content": f"{evil} ok"},
        ]
        for evil in EVIL
    ]
    return write_rows(tmp_path / "chats.jsonl", [{"messages": each} for each in turns])


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    return write_rows(
        tmp_path / "problems.jsonl", [{"prompt": f"{evil} {n}", "answer": n, evil: evil} for n, evil in enumerate(EVIL)]
    )


@pytest.mark.slow
def test_rows_shown_and_counted(run: Run, chats: Path, problems: Path) -> None:
    for source in (chats, problems):
        _, out, _ = run("data", "show", source, "--rows", 20)
        assert "␛[31mred" in out and "<U+202E>gnp.exe" in out and "[red]markup[/red]" in out
        run("data", "show", source, "--tokens")
        run("data", "stats", source)
        for each in ("data", "stats", source, "--json"), ("data", "show", source, "--json"):
            document = json.loads(run(*each)[1])
            assert document
    pairs = write_rows(
        Path("pairs.jsonl"), [{"prompt": f"{evil}?", "chosen": evil, "rejected": f"{evil}!"} for evil in EVIL]
    )
    run("data", "show", pairs, "--rows", 20)
    run("data", "show", chats, "--grep", EVIL[0], codes=(0, 2))


def test_rows_shaped(run: Run, chats: Path) -> None:
    run("data", "convert", chats, "--to", "canonical", "--out", "converted.jsonl")
    run("data", "split", chats, "--out", "parts", codes=(0, 2))
    run("data", "dedup", chats, "--out", "distinct.jsonl", codes=(0, 2))
    run("advise", chats, codes=(0, 2))


@pytest.mark.slow
def test_rows_that_are_refused(run: Run, tmp_path: Path) -> None:
    for evil in EVIL:
        for row in (
            {"messages": [{"role": evil, "content": "x"}]},
            {evil: 1},
            {"prompt": "x", "completion": {evil: evil}},
            {"messages": evil},
        ):
            bad = write_rows(tmp_path / "bad.jsonl", [row])
            run("data", "show", bad, "--stage", "sft", codes=(2,))
        (tmp_path / "bad.jsonl").write_text('{"prompt": ' + evil, encoding="utf-8")
        run("data", "show", "bad.jsonl", "--stage", "sft", codes=(2,))


@pytest.mark.slow
def test_names_of_files_models_and_options(run: Run, chats: Path, tmp_path: Path) -> None:
    for evil in EVIL:
        name = evil.replace("\0", "").replace("/", "")
        rows = tmp_path / f"{name}.jsonl"
        rows.write_bytes(chats.read_bytes())
        run("data", "show", rows, codes=(0, 2))
        run("data", "show", f"missing{evil}.jsonl", codes=(2,))
        run("data", "show", chats, "--model", evil, codes=(2,))
        run("data", "show", chats, "--columns", f"{evil}=x", codes=(0, 2))
        run("check", f"{name}.yaml", codes=(2,))
        run("sft", f"{name}.yaml", "--model", evil, "--out", evil, codes=(2,))
        run("check", "x.yaml", "--set", f"{evil}={evil}", codes=(2,))
        run("runs", evil, codes=(0, 2, 1))


@pytest.mark.slow
def test_recipes(run: Run, chats: Path, tmp_path: Path) -> None:
    for evil in EVIL:
        for recipe in (
            {"stage": evil},
            {"stage": "sft", "out": evil, "data": {"train": [{"path": "chats.jsonl"}]}},
            {"stage": "sft", "out": "x", evil: 1, "data": {"train": [{"path": evil}]}},
            {"stage": "sft", "out": "x", "train": {evil: evil}, "model": {"path": evil}, "data": {"train": [{"path": "chats.jsonl", "format": evil}]}},
            {"stage": "rlvr", "out": "x", "data": {"train": [{"path": "chats.jsonl"}]}, "graders": [{"type": evil}, {"type": "pattern", "pattern": evil, "name": evil}]},
        ):  # fmt: skip
            (tmp_path / "r.yaml").write_text(json.dumps(recipe), encoding="utf-8")
            run("check", "r.yaml", codes=(2,) if "out" not in recipe or recipe["out"] == "x" else (0, 2))


def test_runs_of_others(run: Run, tmp_path: Path) -> None:
    """What lies in a directory that somebody else made is listed as it is."""
    for number, evil in enumerate(EVIL):
        name = evil.replace("\0", "").replace("/", "") + str(number)
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "recipe.yaml").write_text(json.dumps({"stage": evil, "model": {"path": evil}}), encoding="utf-8")
        (folder / "inputs.json").write_text("{}")
        (folder / "run.json").write_text(
            json.dumps({"parent": {"name": evil}, "steps": number, "metrics": {"dev_after": {"loss": 1.5}}})
        )
        for broken, content in enumerate(
            ("", "[]", "{", '"x"', '{"parent": 3, "steps": "x"}', '{"metrics": {"dev_after": {"loss": "' + "x" + '"}}}')
        ):
            other = tmp_path / "runs" / f"broken-{number}-{broken}"
            other.mkdir()
            (other / "recipe.yaml").write_text(
                evil if broken % 2 else json.dumps({"stage": "sft", "model": {"path": "x"}}), encoding="utf-8"
            )
            (other / "inputs.json").write_text("{}")
            (other / "run.json").write_text(content)
    _, out, _ = run("runs")
    assert "unreadable" in out and len(out.splitlines()) == 1 + 7 * len(EVIL)
    assert len(json.loads(run("runs", "--json")[1])) == 7 * len(EVIL)


def test_grades(run: Run, tmp_path: Path) -> None:
    rows = [{"completion": f"the answer is {evil}", "answer": evil, "prompt": evil} for evil in EVIL]
    write_rows(tmp_path / "rows.jsonl", rows)
    for grader in ({"type": "string"}, {"type": "pattern", "pattern": "x"}, {"type": "number"}):
        (tmp_path / "grader.yaml").write_text(json.dumps(grader))
        run("grade", "grader.yaml", "rows.jsonl", codes=(0, 2))
        run("grade", "grader.yaml", "rows.jsonl", "--json", codes=(0, 2))


@pytest.mark.slow
def test_completions_and_judges_of_an_endpoint(run: Run, problems: Path, tmp_path: Path, chat_server: Any) -> None:
    judge = {"type": "score_model", "name": "judge", "base_url": chat_server.base_url, "model": "m", "range": [0, 1],
             "pass_threshold": 0.5, "max_retries": 0, "input": [{"role": "user", "content": "{{ sample.output_text }}"}]}  # fmt: skip
    recipe = {"stage": "eval", "out": "e", "data": {"dev": [{"path": "problems.jsonl", "limit": 4}]}, "model": {"path": f"{chat_server.base_url}#m"},
              "graders": [judge], "eval": {"samples": 1, "k": [1]}, "rollout": {"max_grader_errors": 1.0}}  # fmt: skip
    (tmp_path / "eval.yaml").write_text(json.dumps(recipe))
    for number, evil in enumerate(EVIL):
        steps: list[dict[str, Any]] = [
            {"content": evil},
            {"content": json.dumps({"steps": [], "result": 1, "evil": evil})},
        ]
        if number % 3 == 1:
            steps = [{"content": "x"}, {"content": "x"}, {"status": 500, "content": evil}]
        if number % 3 == 2:
            steps = [{"status": 401, "content": evil}]
        chat_server.script(*steps)
        run("eval", "eval.yaml", "--out", f"e{number}", codes=(0, 2))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page(run: Run, chats: Path, problems: Path, tmp_path: Path) -> None:
    """The page has the same elements and attributes whatever the rows say, and rows are in it as JSON alone."""
    plain = write_rows(
        tmp_path / "plain.jsonl",
        [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}],
    )
    pages = []
    for source in (plain, chats):
        run("data", "show", source, "--html", f"{source.stem}.html")
        text = Path(f"{source.stem}.html").read_text(encoding="utf-8")
        tags = Tags()
        tags.feed(text)
        pages.append(tags)
        assert not (OBEYED - {"\t"}) & set(text)
    assert pages[0].tags == pages[1].tags
    assert not [name for _, attributes in pages[1].tags for name in attributes if name.startswith("on")]
    start = text.index('<script id="rows" type="application/json">') + len('<script id="rows" type="application/json">')
    rows = json.loads(text[start : text.index("</script>", start)])
    said = json.dumps(rows, ensure_ascii=False)
    assert "<script>window.evil=1" in said and visible(EVIL[0]) in said
    assert "innerHTML" not in text and "eval(" not in text and "document.write" not in text
    evil = tmp_path / "<img src=x onerror=evil()>.jsonl"
    evil.write_bytes(plain.read_bytes())
    run("data", "show", evil, "--html", "evil.html")
    tags = Tags()
    tags.feed(Path("evil.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in tags.tags] == [tag for tag, _ in pages[0].tags]
