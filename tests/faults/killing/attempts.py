"""One start of a run: watched, killed when its moment comes, and looked after until none of its processes is left."""

from __future__ import annotations

import random
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from killing import processes
from killing.forks import Fork
from killing.job import RUN, Job, arguments, command, environment
from killing.moments import Moment, Watch

WITHIN_SECONDS = 60.0
"""What is left of a run of several processes ends within so many seconds of a kill."""

_LOOK_SECONDS = 0.002
_LIMIT_SECONDS = 1200.0


@dataclass(frozen=True)
class Attempt:
    """What came of a start.

    `victim` is what was killed, None if the run ended before its moment; `after` the seconds from the start to the
    kill; `gone` the seconds from the kill until no process was left, None if some were. `code` is the exit code of the
    command, and `said` what it wrote to stderr.
    """

    watch: Watch
    seconds: float
    code: int
    said: str
    victim: str | None = None
    after: float | None = None
    gone: float | None = 0.0

    @property
    def resumed_from(self) -> int | None:
        """The step that it said it went on from; None if it said nothing, or was killed before."""
        found = re.search(r"^resuming from step (\d+)", self.said, re.M)
        return int(found[1]) if found else None

    @property
    def trains(self) -> bool:
        """Whether it came far enough to say where it goes on."""
        return bool(self.watch.ended["before"])

    @property
    def last_line(self) -> str:
        """The last that it said, cut short: how far it seems to be."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        return " ".join(lines[-1].split())[:40] if lines else "nothing said"

    def wrong(self) -> list[str]:
        """Return what is not as it should be in how it ended."""
        if self.victim is None:
            return [] if self.code == 0 else [f"ended with {self.code}: {_tail(self.said)}"]
        found = []
        if self.gone is None:
            found.append(f"processes still ran {WITHIN_SECONDS:.0f} s after {self.victim} was killed")
        if self.victim.startswith("rank"):
            if f"{self.victim} was killed by SIGKILL" not in self.said:
                found.append(f"nobody said that {self.victim} was killed: {_tail(self.said)}")
            if self.code != 1:
                found.append(f"the command ended with {self.code} after {self.victim} was killed")
        return found


def start(
    job: Job,
    folder: Path,
    name: str,
    *options: str,
    moment: Moment | None = None,
    lengths: dict[str, float] | None = None,
    draw: random.Random | None = None,
) -> Attempt:
    """Start the job in the folder and wait for its end, or kill it at the moment, given how long phases are.

    `draw` chooses among the processes. Raises RuntimeError when it is not done within twenty minutes.
    """
    log = folder / f"{name}.log"
    mark = f"{folder.name}/{name}/{time.time_ns()}"
    with log.open("wb") as stderr, (folder / f"{name}.out").open("wb") as stdout:
        environ = environment(folder, mark)
        child: Fork | subprocess.Popen[bytes] = (
            Fork(arguments(job, *options), folder, environ, stdout, stderr)
            if job.forked
            else subprocess.Popen(command(job, *options), cwd=folder, env=environ, stdout=stdout, stderr=stderr)
        )
    watch = Watch(folder / RUN, log)
    victim = after = None
    try:
        while child.poll() is None and victim is None:
            now = watch.look()
            if moment and watch.has_come(moment, lengths or {}):
                victim = _kill_one(child.pid, mark, draw or random.Random(0))
                after = now
            elif now > _LIMIT_SECONDS:
                raise RuntimeError(f"{job}: {name} was not done after {_LIMIT_SECONDS:.0f} s\n{_text(log)}")
            else:
                time.sleep(_LOOK_SECONDS)
        gone = processes.seconds_until_gone(mark, WITHIN_SECONDS)
    finally:
        for pid in [*processes.marked(mark), *([child.pid] if child.poll() is None else [])]:
            processes.kill(pid)
        code = child.wait()
    seconds = watch.look()
    return Attempt(watch, seconds, code, _text(log), victim, after, gone)


def _kill_one(launcher: int, mark: str, draw: random.Random) -> str:
    """SIGKILL the command, or one of its ranks where it has some; return which."""
    ranks = {rank: pid for pid, rank in processes.marked(mark).items() if rank is not None and pid != launcher}
    name = draw.choice([None, *sorted(ranks), *sorted(ranks)]) if ranks else None
    processes.kill(launcher if name is None else ranks[name])
    if name is not None:
        return f"rank {name}"
    return "the launcher" if ranks else "the command"


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _tail(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:])
