"""The batch file that runs a recipe under SLURM: a task for each GPU, and again when its time was over."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from posttrain.errors import EXIT_STOPPED, UserError
from posttrain.launch.plan import LOGS

SIGNAL_SECONDS = 120
"""How long before its end SLURM tells a job. It means well by a minute, so the job has at least one."""
MOST_RESTARTS = 50

_OWN = ("nodes", "ntasks-per-node", "gpus-per-node", "signal", "requeue", "no-requeue", "output", "open-mode", "chdir")


@dataclass(frozen=True)
class Machines:
    """What to ask SLURM for, by its names. `options` are further ones, as on sbatch's command line."""

    nodes: int = 1
    gpus_per_node: int | None = None
    ntasks_per_node: int | None = None
    cpus_per_task: int | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    options: Sequence[str] = field(default_factory=tuple)

    @property
    def tasks(self) -> int:
        """The tasks on each node: one drives one GPU. Raises UserError when that is not what is asked for."""
        if self.gpus_per_node and self.ntasks_per_node not in (None, self.gpus_per_node):
            raise UserError(
                f"{self.ntasks_per_node} tasks but {self.gpus_per_node} GPUs on each node",
                where="--ntasks-per-node",
                fix="leave it out: one task drives one GPU",
            )
        return self.gpus_per_node or self.ntasks_per_node or 1


def write_batch(machines: Machines, command: Sequence[str], *, name: str, run: Path, directory: Path) -> str:
    """Return the batch file that runs `command` in `directory`, as a rank in each task, with its output in the logs of
    `run`. Raises UserError for options that do not go together."""
    logs = (directory / run).absolute() / LOGS
    asked: dict[str, object] = {
        "job-name": name,
        "nodes": machines.nodes,
        "ntasks-per-node": machines.tasks,
        "gpus-per-node": machines.gpus_per_node,
        "cpus-per-task": machines.cpus_per_task,
        "time": machines.time,
        "partition": machines.partition,
        "account": machines.account,
        "chdir": directory.absolute(),
        "output": logs / "slurm-%j.log",
        "open-mode": "append",
        "signal": f"USR1@{SIGNAL_SECONDS}",
    }
    lines = [f"#SBATCH --{key}={_word(key, value)}" for key, value in asked.items() if value is not None]
    lines += ["#SBATCH --requeue", *(f"#SBATCH {_option(option)}" for option in machines.options)]
    cores = f" --cpus-per-task={machines.cpus_per_task}" if machines.cpus_per_task else ""
    return _FILE.format(
        asked="\n".join(lines),
        cores=cores,
        output=shlex.quote(str(logs / "slurm-%j-%t.log")),
        command=" ".join(shlex.quote(part) for part in (sys.executable, "-m", "posttrain", *command)),
        stopped=EXIT_STOPPED,
        most=MOST_RESTARTS,
    )


_FILE = """\
#!/bin/bash
{asked}

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# One task is one rank. Each writes to a file of its own; the first has the progress.
srun --wait=60{cores} --open-mode=append --output={output} \\
    {command}
code=$?

# {stopped}: stopped in time and saved, so the job goes on where it was. Not if it is being cancelled, nor without end.
state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)
if [ "$code" -eq {stopped} ] && [ "$state" = RUNNING ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def _option(text: str) -> str:
    name = text.partition("=")[0].removeprefix("--")
    if not text.startswith("-") or not text.isprintable():
        raise UserError(f"{text!r} is no option of sbatch", where="--sbatch", fix="write it as there: --sbatch --mem=0")
    if text.startswith("--") and name in _OWN:
        raise UserError(f"--{name} is set already", where="--sbatch", fix="leave it out, or edit the file")
    return text


def _word(key: str, value: object) -> str:
    """Return the value of an option; raises UserError where sbatch would read another one."""
    text = str(value)
    if any(character.isspace() or character in "\\\"'#" for character in text) or text.count("%") > (key == "output"):
        raise UserError(f"sbatch cannot take {text!r}", where=f"--{key}", fix="use a path and names without blanks")
    return text
