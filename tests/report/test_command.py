"""The command: which files it writes, what it refuses; and that nothing in a run is read as HTML or Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posttrain.cli import app
from posttrain.errors import UserError
from posttrain.report.collect import collect
from posttrain.report.command import write_report
from posttrain.report.plots import smoothed


def embedded(page: str) -> dict:
    return json.loads(re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[0])


def test_the_page_holds_the_document_and_asks_for_no_address(chain: Path) -> None:
    (path,) = write_report([chain])
    assert path == chain / "report.html"
    page = path.read_text(encoding="utf-8")
    document = collect([chain])
    assert embedded(page) == json.loads(json.dumps({**document, "written": embedded(page)["written"]}))
    assert "default-src 'none'" in page and "connect-src" not in page
    assert re.findall(r"(?:src|href)=\"(?!#|data:,)", page) == [] and "@import" not in page and "fetch(" not in page


def test_hostile_texts_stay_texts(write_run: Callable[..., Path], chain: Path, made: Any) -> None:
    run = write_run("runs/<img src=x onerror=alert(1)>", "rlvr", made.rlvr_rows(10))
    path = Path("page.html")
    write_report([run, chain], to=path, markdown=Path("page.md"))
    page = path.read_text(encoding="utf-8")
    assert "<img" not in page and page.count("<script") == 2 and page.count("</script>") == 2
    texts = [row[3] for row in embedded(page)["samples"]["rows"]]
    assert made.EVIL in texts
    assert "<img" not in re.sub(r"\\.", "", Path("page.md").read_text())


def test_the_command_prints_what_it_wrote(chain: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(chain), "--to", "a.html", "--markdown", "a.md", "--samples", "4"])
    assert done.exit_code == 0 and done.stdout.split() == ["a.html", "a.md"]
    text = Path("a.md").read_text()
    assert "builtin:tiny → runs/sft → runs/rlvr" in text
    assert "| runs/rlvr | rlvr | runs/sft | pass@1 | 25.0 ± 10.0 | 75.0 ± 10.0 | 10 | 1,000 | 50 |" in text
    assert embedded(Path("a.html").read_text())["samples"]["kept"] == 4


def test_a_report_is_written_over_and_nothing_else_is(chain: Path) -> None:
    write_report([chain], to=Path("a.html"), markdown=Path("a.md"))
    write_report([chain], to=Path("a.html"), markdown=Path("a.md"))
    Path("mine.md").write_text("# Mine")
    with pytest.raises(UserError, match="is there already"):
        write_report([chain], to=Path("a.html"), markdown=Path("mine.md"))
    write_report([chain], to=Path("a.html"), markdown=Path("mine.md"), force=True)
    assert "Mine" not in Path("mine.md").read_text()
    with pytest.raises(UserError, match="no folder"):
        write_report([chain], to=Path("nowhere/a.html"))


@pytest.mark.slow
def test_each_plot_is_a_picture(chain: Path) -> None:
    pytest.importorskip("matplotlib")
    written = write_report([chain], to=Path("a.html"), png=Path("plots"))
    names = [path.name for path in written[1:]]
    assert {"runs-rlvr-reward.png", "runs-rlvr-problems-solved.png", "runs-sft-loss.png"} <= set(names)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[1:])


def test_smoothing_has_no_pull_of_the_first_value() -> None:
    """With weight 1/2 the third of 1, 2, 4 is (1/4 + 2/2 + 4) / (1/4 + 1/2 + 1)."""
    assert smoothed([1, 2, 4], 0.5) == pytest.approx([1, 5 / 3, 3])
