"""Real ranks: started by torchrun, and sharded by DeepSpeed on CPU to the same losses as one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

UNDER_TORCHRUN = """
import os, sys
from pathlib import Path
from posttrain.errors import UserError
from posttrain.launch.plan import make_plan
from posttrain.launch.worker import from_first_rank, join_ranks, leave_ranks
from posttrain.recipe.schema import Launch

plan = make_plan(Launch(zero=2), Path("run"), environ=os.environ)
os.environ.update(plan.environ)
join_ranks()
said = from_first_rank(lambda: f"said by {os.environ['RANK']}")
def refuse():
    raise UserError("no", where="out")
try:
    from_first_rank(refuse)
except UserError as error:
    said += f", refused at {error.where}"
leave_ranks()
Path(sys.argv[1], os.environ["RANK"]).write_text(f"{plan.world_size} {plan.is_main} {said}")
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.mark.slow
def test_under_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNDER_TORCHRUN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launcher, str(script), str(tmp_path)], check=True, timeout=300)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == [
        "2 True said by 0, refused at out",
        "2 False said by 0, refused at out",
    ]
