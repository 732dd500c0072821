"""The page in headless Chromium: no error, right numbers, filter and search; and a large run stays usable."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrain.report.command import write_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium")
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """A function that opens a page without a network; at the end, nothing may have been said in the console."""
    said: list[str] = []
    contexts = []

    def open_page(path: Path, width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None
        )
        page.goto(path.resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def says(page: Any, text: str) -> None:
    """Wait until this is what the filter found. (The page forbids `eval`, which Playwright's own waiting needs.)"""
    page.locator("#found", has_text=text).wait_for(timeout=20_000)


def draws(page: Any, least: int) -> None:
    page.locator("#charts canvas").nth(least - 1).wait_for(timeout=20_000)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_every_picture_is_drawn_and_nothing_is_wider_than_the_window(
    chain: Path, visit: Callable[..., Any], width: int, scheme: str
) -> None:
    (path,) = write_report([chain])
    page = visit(path, width, scheme=scheme)
    pictures = page.locator("#charts figure").count()
    assert pictures == 5  # reward, solved, groups, entropy, loss
    for index in range(pictures):
        page.locator("#charts figure").nth(index).scroll_into_view_if_needed()
    draws(page, 7)  # two of them are pairs
    assert page.evaluate("document.documentElement.scrollWidth") == width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(18, 21, 27)" if scheme == "dark" else "rgb(246, 247, 249)")
    assert page.title() == "runs/rlvr" and page.locator("img").count() == 0


def test_the_reader_filters_searches_and_overlays(chain: Path, visit: Callable[..., Any]) -> None:
    (path,) = write_report([chain])
    page = visit(path)
    found = page.locator("#found")
    assert found.inner_text() == "4 of 4 prompts"
    assert "solved 0% → 100%" in page.locator("#list article").nth(1).inner_text()
    page.select_option("#moved", "better")
    says(page, "2 of 4 prompts")
    page.click("#filter button[type=reset]")
    says(page, "4 of 4 prompts")
    page.select_option("#mode", "all")
    page.fill("#text", "ONERROR")
    says(page, "1 of 16 completions")
    assert "<img src=x" in page.locator("#list article").inner_text() and page.locator("#list mark").count() >= 1
    page.fill("#text", "")
    page.select_option("#verdict", "failed")
    says(page, "8 of 16 completions")
    page.get_by_role("button", name="runs/sft", exact=True).click(modifiers=["Control"])
    assert page.locator("#chips [aria-pressed=true]").count() == 2
    page.locator("#figures summary").last.click()
    row = page.locator("#figures tr", has_text="pass@1").filter(has_text="held-out")
    assert row.inner_text().split("\t") == ["pass@1", "held-out", "25.0%", "75.0%", "25.0%", "75.0%"]


def test_a_hundred_thousand_steps_and_ten_thousand_samples(
    write_run: Callable[..., Path], visit: Callable[..., Any], made: Any
) -> None:
    rows = [
        {
            "step": step,
            "split": "train",
            "loss": 1 / step + 0.1 * math.sin(step),
            "reward": step / 100_000,
            "seconds": step,
        }
        for step in range(1, 100_001)
    ]
    looks = [{"step": step, "split": "dev", "reward": step / 1e5, "reward_stderr": 0.01} for step in (0, 100_000)]
    look = [made.sample(p, n, n % 2 == 0, f"word{p} " * 40) for p in range(1250) for n in range(4)]
    kept = {"dev-000000.jsonl": look, "dev-100000.jsonl": look}
    run = write_run("runs/long", "rlvr", [looks[0], *rows, looks[1]], looks=kept)
    (path,) = write_report([run])
    assert path.stat().st_size < 8e6
    started = time.monotonic()
    page = visit(path)
    assert page.locator("#found").inner_text() == "1,250 of 1,250 prompts"
    page.locator("#charts figure").first.scroll_into_view_if_needed()
    draws(page, 1)
    assert "100,000 logged steps, of which a point is the mean of 50" in page.locator("#curves-say").inner_text()
    opened = time.monotonic() - started
    started = time.monotonic()
    page.fill("#text", "word1249")
    says(page, "1 of 1,250 prompts")
    searched = time.monotonic() - started
    assert opened < 20 and searched < 10  # on a busy machine
