"""A start without its seconds of imports: a fork of this process, which has made them already.

The command runs as ever from its arguments on; only what a real start draws anew (the order of sets of strings, where
memory lies) is the same each time, and the moments before the imports come at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

from killing.job import REPOSITORY, STAGES


class Fork:
    """A process that runs `posttrain ARGUMENTS`; as much of Popen as is needed."""

    def __init__(
        self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]
    ) -> None:
        self.returncode: int | None = None
        _import_once(environ)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environ)
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            _run(arguments)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        """Return the exit code when it has ended."""
        code = self._ended(0)
        assert code is not None
        return code

    def _ended(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _import_once(environ: Mapping[str, str]) -> None:
    """Import what a stage does, with what the libraries read in the environment as it will be. One thread: a fork has
    no others."""
    if "posttrain.stages.train" in sys.modules:
        return
    os.environ |= environ
    sys.path.insert(0, str(REPOSITORY))
    from posttrain.importing import import_all

    import_all("torch", "peft", "datasets", "posttrain.cli", "posttrain.stages.train")
    import_all(*(f"trl.trainer.{'grpo' if stage == 'rlvr' else stage}_trainer" for stage in STAGES))


def _run(arguments: Sequence[str]) -> NoReturn:
    code = 1
    try:
        from posttrain.cli import main

        sys.argv = ["posttrain", *arguments]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
