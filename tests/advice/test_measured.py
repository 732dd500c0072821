"""Pass rates from what `signal` and `eval` leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.advice.measured import read_eval, read_signal
from posttrain.errors import UserError
from posttrain.runs import directory


def test_a_signal_is_read(tmp_path: Path) -> None:
    document = {"problems": 10, "samples": 8, "never": 4, "teaching": 5, "mean_pass": 0.3}
    directory.write_json(tmp_path / "signal.json", document)
    found = read_signal(tmp_path)
    assert (found.rate, found.ever, found.teaching, found.hopeless, found.solved) == (0.3, 0.6, 5, False, False)


def test_the_best_line_of_an_eval_comes_first(tmp_path: Path) -> None:
    for name, passed in (("plain", 0.2), ("shots", 0.5)):
        row = {"label": f"base · {name}", "problems": 100, "pass@1": passed, "pass@8": 0.8}
        directory.write_json(tmp_path / f"dev-{name}.json", row)
    directory.write_json(tmp_path / "other.json", {"x": 1})
    best, other = read_eval(tmp_path)
    assert (best.label, best.rate, best.samples, best.ever) == ("base · shots", 0.5, 8, 0.8)
    assert other.rate == 0.2


def test_directories_without_figures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no figures of an eval"):
        read_eval(tmp_path)
    with pytest.raises(UserError, match=r"signal\.json is not there"):
        read_signal(tmp_path)
    directory.write_json(tmp_path / "signal.json", {"problems": 0})
    with pytest.raises(UserError, match="not what `posttrain signal` writes"):
        read_signal(tmp_path)
