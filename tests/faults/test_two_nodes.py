"""Two network namespaces, a run over them, and the link between them cut in silence: the script's hardest scene."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import two_nodes


@pytest.mark.slow
def test_cut_off_in_silence_and_resumed(tmp_path: Path) -> None:
    if reason := two_nodes.why_not():
        pytest.skip(reason)
    command = [sys.executable, two_nodes.__file__, "--work", str(tmp_path / "work"), "cut-silently"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended with [1, 1]" in done.stdout and "resumed to the end" in done.stdout
