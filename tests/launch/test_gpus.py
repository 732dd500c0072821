"""GPUs are counted as CUDA shows them, by a real program on PATH standing where nvidia-smi stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.launch.gpus import visible_gpus

_GPU = "GPU {}: NVIDIA H200 (UUID: GPU-{})"
_SLICE = "  MIG 1g.18gb     Device  {}: (UUID: MIG-{})"


def path_with_smi(folder: Path, lines: list[str]) -> str:
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("lines", "chosen", "count"),
    [
        ([_GPU.format(n, n) for n in range(4)], None, 4),
        ([_GPU.format(n, n) for n in range(4)], "0,2", 2),
        ([_GPU.format(n, n) for n in range(4)], "", 0),
        ([_GPU.format(n, n) for n in range(4)], "1,-1,2", 1),
        ([_GPU.format(0, 0), _SLICE.format(0, 0), _SLICE.format(1, 1)], None, 2),
        ([], "0", 0),
    ],
)
def test_visible_gpus(tmp_path: Path, lines: list[str], chosen: str | None, count: int) -> None:
    environ = {"PATH": path_with_smi(tmp_path, lines)}
    if chosen is not None:
        environ["CUDA_VISIBLE_DEVICES"] = chosen
    assert visible_gpus(environ) == count
