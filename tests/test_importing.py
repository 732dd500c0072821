"""Imports without the search for cycles."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from posttrain.importing import import_all

SOURCE = "import gc\nenabled = gc.isenabled()\nobjects = [[number] for number in range(1000)]\n"


def test_no_search_while_modules_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_for_a_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        import_all("json", "heavy_for_a_test")
        module = sys.modules["heavy_for_a_test"]
        assert not module.enabled and gc.isenabled()
        tracked = {id(each) for each in gc.get_objects()}
        assert not tracked & {id(each) for each in module.objects}  # a later search leaves them out
    finally:
        gc.unfreeze()


def test_a_missing_module_leaves_the_search_on() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_all("no_such_module_here")
    gc.unfreeze()
    assert gc.isenabled()
