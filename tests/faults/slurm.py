"""SLURM on the two machines of two_nodes.py: a real controller and two real daemons run what `launch slurm` writes.

    python tests/faults/slurm.py [--work DIR]

The job trains on both machines, is told to stop in the middle, queues itself again and goes on to the end. It needs
Debian's slurmctld, slurmd and slurm-client beside what two_nodes.py needs, and takes about five minutes, two of which
SLURM lets a job wait that has queued itself again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults.two_nodes import (
    Node,
    in_namespaces,
    losses,
    make_nodes,
    on_one_machine,
    posttrain,
    same,
    say,
    soon,
    write_recipe,
)

CONFIG = """
ClusterName=two
SlurmctldHost={host}(10.77.1.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=node-a NodeAddr=10.77.1.2 CPUs=1
NodeName=node-b NodeAddr=10.77.2.2 CPUs=1
PartitionName=all Nodes=node-a,node-b Default=YES MaxTime=INFINITE State=UP
"""


def start_slurm(nodes: tuple[Node, Node], folder: Path) -> None:
    """Start the controller here and a daemon on each node; return when both nodes are idle."""
    folder.mkdir()
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=os.uname().nodename, folder=folder))
    os.environ["SLURM_CONF"] = str(config)
    with (folder / "out.log").open("wb") as log:
        subprocess.Popen(["slurmctld", "-D"], stdout=log, stderr=log)
    for node in nodes:
        node.start(["slurmd", "-D"], folder / f"{node.name}.out.log")
    soon(lambda: asked("sinfo", "--noheader", "--format=%T %D").split() == ["idle", "2"])


def asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def state(job: str) -> str:
    return asked("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T")


def trains_and_goes_on(nodes: tuple[Node, Node]) -> None:
    write_recipe("slurm")
    write = posttrain("launch", "slurm", "slurm.yaml", "--nodes", "2", "--time", "10", "--to", "slurm.sbatch")
    subprocess.run(write, check=True)
    job = asked("sbatch", "--parsable", "slurm.sbatch")
    started = time.monotonic()
    soon(lambda: len(losses("slurm")) >= 8)
    say(f"job {job} trains on both nodes after {time.monotonic() - started:.0f} s")
    subprocess.run(["scancel", "--signal=TERM", job], check=True)
    soon(lambda: state(job) == "PENDING")
    say(f"told to stop after step {len(losses('slurm'))}: it queued itself again")
    soon(lambda: Path("runs/slurm/run.json").exists(), 400)
    soon(lambda: state(job) == "COMPLETED")
    difference = same(losses("slurm"), losses(on_one_machine(0, 30)))
    said = Path(f"runs/slurm/logs/slurm-{job}-0.log").read_text()
    assert "resuming from step" in said and said.strip().endswith("runs/slurm/final")
    say(f"went on to the end after {time.monotonic() - started:.0f} s: losses differ by {difference:.1e}")
    assert difference < 1e-6


def is_cancelled(nodes: tuple[Node, Node]) -> None:
    """A job that is cancelled saves, and does not come back."""
    write_recipe("cancelled", steps=300)
    subprocess.run(posttrain("launch", "slurm", "cancelled.yaml", "--nodes", "2", "--to", "c.sbatch"), check=True)
    job = asked("sbatch", "--parsable", "c.sbatch")
    soon(lambda: len(losses("cancelled")) >= 4)
    subprocess.run(["scancel", job], check=True)
    soon(lambda: state(job) == "CANCELLED")
    saved = sorted(path.name for path in Path("runs/cancelled/checkpoints").iterdir())
    say(f"cancelled after step {len(losses('cancelled'))}: {saved}")
    time.sleep(5)
    assert state(job) == "CANCELLED" and saved


def main() -> None:
    if missing := [name for name in ("slurmctld", "slurmd", "sbatch") if not shutil.which(name)]:
        sys.exit(f"no program {', '.join(missing)}")
    work = in_namespaces(__file__, __doc__)
    nodes = make_nodes(work)
    start_slurm(nodes, work / "slurm")
    trains_and_goes_on(nodes)
    is_cancelled(nodes)


if __name__ == "__main__":
    main()
