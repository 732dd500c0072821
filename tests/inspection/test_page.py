"""The page: nothing in a row is read as HTML, and it works in a browser without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from posttrain.inspection.opened import open_rows
from posttrain.inspection.page import write_page
from posttrain.inspection.show import look_at_rows

EVIL = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\"><!--"
ROWS = [
    {"prompt": EVIL, "completion": f"{EVIL} {{{{ 7 * 7 }}}} \u2028 &lt;b&gt;"},
    {"prompt": "2 + 2?", "completion": "4"},
    {"prompt": "Long?", "completion": "yes " * 300},
]


class Scripts(HTMLParser):
    """What a browser takes for scripts, and every other element's name."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.names: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.linked += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.names and self.names[-1] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data


@pytest.fixture
def page(rows_file: Any) -> Path:
    """A page of ROWS, with the longest cut."""
    opened = open_rows(rows_file(*ROWS), stage="sft", max_length=240)
    path = Path("page.html").absolute()
    write_page(path, opened, look_at_rows(opened, range(3)), "3 rows")
    return path


def test_rows_are_inert_and_whole(page: Path) -> None:
    read = Scripts()
    read.feed(page.read_text(encoding="utf-8"))
    assert len(read.scripts) == 2 and "img" not in read.names and read.linked == []
    rows = json.loads(read.scripts[0])
    said = ["".join(span[1] for turn in row["texts"]["conversation"] for span in turn[2]) for row in rows]
    assert EVIL in said[0] and "{{ 7 * 7 }}" in said[0] and "<U+2028>" in said[0]
    assert [row["place"] for row in rows] == [f"rows.jsonl:{n}" for n in (1, 2, 3)]
    assert rows[1]["trained"] == 3 and rows[2]["cut"] > 0


def test_no_address_is_asked_for(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"https?://|url\(|@import|fetch\(|XMLHttp", text) == []
    assert "default-src 'none'" in text


def test_the_name_of_a_source_is_text_too(rows_file: Any, tmp_path: Path) -> None:
    rows_file(ROWS[1])
    named = Path("<b>'&.jsonl")
    Path("rows.jsonl").rename(named)
    opened = open_rows(str(named), stage="sft")
    write_page(Path("page.html"), opened, look_at_rows(opened, range(1)), "1 row")
    text = Path("page.html").read_text(encoding="utf-8")
    assert "<h1>&lt;b&gt;&#39;&amp;.jsonl</h1>" in text and "<b>'&" not in text


def test_with_token_ids_a_span_is_a_token(rows_file: Any) -> None:
    opened = open_rows(rows_file(ROWS[1]), stage="sft")
    write_page(Path("page.html"), opened, look_at_rows(opened, range(1)), "1 row", token_ids=True)
    rows = json.loads(re.findall(r'application/json">(.*?)</script>', Path("page.html").read_text())[0])
    spans = [span for turn in rows[0]["texts"]["conversation"] for span in turn[2]]
    assert [span[0] for span in spans][-3:] == [1, 1 + 4, 1]  # trained; and the end of the turn is special
    assert spans[-2][1:] == ["<|im_end|>", 2] and len(spans) == rows[0]["tokens"]


@pytest.mark.slow
def test_a_browser_shows_the_row_as_text(page: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"{page.as_uri()}#1"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    shown = dom[dom.index('<article id="reader"') : dom.index("</article>")]
    assert "Row 1" in shown and "&lt;img src=x" in shown and "<img" not in shown
    assert "<title>rows.jsonl · sft rows</title>" in dom
    assert dom.count('<li role="option"') + dom.count('role="option"') >= 3 and "3 of 3" in dom
