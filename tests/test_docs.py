"""The documents are true: the commands of a page run, what it shows loads, its links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from posttrain.cli import app
from posttrain.data.formats import FORMATS, choose_format
from posttrain.errors import UserError
from posttrain.evals.offline import read_grader
from posttrain.graders import GRADERS
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.recipe.yaml_lines import dump_yaml, read_yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"# ([\w./-]+\.(?:yaml|py))\n")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block of a page: `kind` is its language, `title` the file that it shows, if it names one."""

    page: Path
    line: int
    kind: str
    text: str
    title: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the page's fenced blocks in order."""
    source = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(source):
        title = _TITLE.match(match[2])
        found.append(
            Block(page, source.count("\n", 0, match.start()) + 1, match[1], match[2], title[1] if title else "")
        )
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def shown(*kinds: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind in kinds]


def test_every_block_says_what_it_is() -> None:
    kinds = {"bash", "console", "jinja", "json", "python", "text", "yaml"}
    assert [str(block) for block in BLOCKS if block.kind not in kinds] == []
    assert len(BLOCKS) > 60


# The commands


@pytest.mark.slow
@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in shown("bash")), ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """In page order, in a directory that holds only what the page has put there; they print what it says."""
    environ = environment(tmp_path / "bin")
    work = tmp_path / "work"
    work.mkdir()
    printed = None
    for block in blocks_of(page):
        if block.title:
            (work / block.title).parent.mkdir(parents=True, exist_ok=True)
            (work / block.title).write_text(block.text, encoding="utf-8")
        if block.kind == "text" and printed is not None and "±" not in block.text:
            assert block.text in printed, block
        printed = run(block, work, environ) if block.kind == "bash" else None


def environment(bin_dir: Path) -> dict[str, str]:
    """Return an environment in which `posttrain` is this checkout's, and no hub is asked."""
    bin_dir.mkdir()
    command = bin_dir / "posttrain"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m posttrain "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return os.environ | {
        "PATH": os.pathsep.join((str(bin_dir), os.environ["PATH"])),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "HF_HUB_OFFLINE": "1",
    }


def run(block: Block, work: Path, environ: dict[str, str]) -> str:
    """Run a block in bash and return what it printed."""
    script = f"set -euo pipefail\n{block.text}"
    done = subprocess.run(["bash", "-c", script], cwd=work, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands_of(block: Block) -> Iterator[list[str]]:
    """Yield the arguments of every `posttrain …` in a block of commands."""
    for line in block.text.replace("\\\n", " ").splitlines():
        assert block.kind == "bash" or line.startswith("$ "), f"{block}: no prompt before {line!r}"
        # What a $(…) runs is a command beside the one that it is an argument of.
        inner = re.findall(r"\$\(([^()]*)\)", line)
        for part in (*inner, re.sub(r"\$\([^()]*\)", "PRINTED", line)):
            if "posttrain " in part:
                yield from arguments_of(part)


def arguments_of(line: str) -> Iterator[list[str]]:
    """Yield the words after `posttrain` in each command of a line, which may be a pipe or a list."""
    lexer = shlex.shlex(line.replace("2>&1", ""), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if not set(word) <= set("|&;<>"):
            words.append(word)
            continue
        if "posttrain" in words:
            yield words[words.index("posttrain") + 1 :]
        words = []


def parse(arguments: list[str]) -> str:
    """Return the name of the command that a command line runs; raises typer's own error if it would refuse it."""
    command: Any = typer.main.get_command(app)
    names: list[str] = []
    while hasattr(command, "commands"):
        names.append(arguments.pop(0))
        command = command.commands[names[-1]]
    command.make_context(names[-1], arguments)
    return " ".join(names)


@pytest.mark.parametrize("block", shown("console", "bash"), ids=str)
def test_the_commands_parse(block: Block) -> None:
    for arguments in commands_of(block):
        parse(list(arguments))


@pytest.mark.parametrize("line", ["posttrain stf a.yaml", "posttrain sft", "ls; posttrain sft a.yaml --modle b"])
def test_a_command_that_would_be_refused_is_found(line: str) -> None:
    (arguments,) = arguments_of(line)
    with pytest.raises(Exception, match=r"stf|[Mm]issing|--modle"):
        parse(arguments)


def test_every_command_is_shown() -> None:
    used = {parse(list(arguments)) for block in shown("console", "bash") for arguments in commands_of(block)}
    assert used == set(all_commands(typer.main.get_command(app)))


def all_commands(command: Any, names: str = "") -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield names
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, f"{names} {name}".strip())


def test_make_has_the_targets_that_are_shown() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    asked = [found[1] for block in shown("console") for found in re.finditer(r"\$ make (\w+)", block.text)]
    assert len(asked) >= 4
    assert set(asked) <= set(targets)


# The files


@pytest.mark.parametrize("block", shown("yaml"), ids=str)
def test_the_yaml_is_a_recipe_a_part_of_one_or_a_grader(block: Block, tmp_path: Path) -> None:
    path = tmp_path / (Path(block.title).name or "shown.yaml")
    path.write_text(block.text, encoding="utf-8")
    keys = read_yaml(block.text, str(path)).data.keys()
    if "stage" in keys:
        load_recipe(path, stage=None)
    elif "type" in keys:
        read_grader(path)
    else:
        assert keys <= Recipe.model_fields.keys()
        assert loads_within_a_recipe(block.text, path)


def loads_within_a_recipe(part: str, path: Path) -> bool:
    """Tell whether the sections in `part` are valid in a short recipe of some stage."""
    for stage in ("sft", "dpo", "kto", "rlvr", "eval"):
        recipe: dict[str, Any] = {"stage": stage, "out": "runs/shown"}
        recipe["data"] = {"train": [{"path": "rows.jsonl"}], "dev": {"fraction": 0.1}}
        if stage == "eval":
            recipe["data"] = {"dev": [{"path": "rows.jsonl"}]}
        recipe |= {"graders": [{"type": "number"}]} if stage in ("rlvr", "eval") else {}
        path.write_text(dump_yaml(recipe | read_yaml(part, "part").data), encoding="utf-8")
        try:
            load_recipe(path, stage=stage)
        except UserError:
            continue
        return True
    return False


@pytest.mark.parametrize("block", shown("python"), ids=str)
def test_the_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


def test_the_grader_shown_to_contributors_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (block for block in shown("python") if block.page.name == "contributing.md")
    path = tmp_path / "lines.py"
    path.write_text(block.text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("shown_lines", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    grader = module.make(module.LinesSettings(type="lines", max_lines=2), tmp_path)
    verdicts = [grader.grade(text, {}) for text in ("one\ntwo\n", "one\ntwo\nthree", "<think>one")]
    assert [(grade.passed, grade.note) for grade in verdicts] == [
        (True, "2 lines"),
        (False, "3 lines"),
        (False, "thinking never ended"),
    ]


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "rlvr"])
def test_the_data_page_has_a_row_of_every_format(stage: str) -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    section = re.split(r"^##+ ", page.split(f"\n### {stage}", 1)[1], flags=re.MULTILINE)[0]
    rows = [json.loads(match[2]) for match in _FENCE.finditer(section) if match[1] == "json"]
    formats = [choose_format(row, stage, "auto", "data.md") for row in rows]
    for row, format in zip(rows, formats, strict=True):
        format.read(row, "data.md")
    assert sorted(format.title for format in formats) == sorted(format.title for format in FORMATS[stage].values())
    assert [name for name in FORMATS[stage] if f"`{name}`" not in section] == []


def test_the_graders_page_has_every_grader() -> None:
    assert set(GRADERS) <= anchors(DOCS / "graders.md")


# The links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_readme_leads_to_every_page() -> None:
    linked = set(_LINK.findall(PAGES[0].read_text(encoding="utf-8")))
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= linked
