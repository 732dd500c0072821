"""Programs that nobody trusts, run in processes that can reach nothing. Imports only posttrain.errors.

`levels` finds out how much isolation the machine allows, `zygote` and `pool` keep a process ready from which
confined ones are forked, `jobs` is what can be run in them. `inside/` is the other side.
"""

from __future__ import annotations

from posttrain.sandbox.jobs import Output, Tested, run_script, run_source, run_tests
from posttrain.sandbox.levels import Level, Mode, level, required
from posttrain.sandbox.pool import WORKERS, lent
from posttrain.sandbox.zygote import Configuration, Ended, Isolation, Limits, SandboxError, Zygote

__all__ = [
    "WORKERS",
    "Configuration",
    "Ended",
    "Isolation",
    "Level",
    "Limits",
    "Mode",
    "Output",
    "SandboxError",
    "Tested",
    "Zygote",
    "lent",
    "level",
    "required",
    "run_script",
    "run_source",
    "run_tests",
]
