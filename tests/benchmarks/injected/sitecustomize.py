"""The one clock of both sides: loaded by every Python that has this folder on its path.

Where BENCHMARK_MARKS names a file, the first rank's trainer writes a JSON line there when training begins, at the end
of each step, at each log and at the end, whoever made the trainer: the time, the processor's seconds of the process
so far, the threads, and what was logged. Only the call by which transformers tells its callbacks is wrapped.
"""

import os
import sys

WATCHED = "transformers.trainer_callback"


class _AfterImport:
    """Finds one module as the others would, and wraps what it defines once it is there."""

    def find_spec(self, name, path=None, target=None):
        if name != WATCHED:
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            _wrap(module.CallbackHandler)

        spec.loader.exec_module = exec_module
        return spec


def _wrap(handler):
    plain = handler.call_event

    def call_event(self, event, args, state, control, **named):
        if event in _EVENTS and state.is_world_process_zero:
            _mark(_EVENTS[event], state.global_step, named.get("logs"))
        return plain(self, event, args, state, control, **named)

    handler.call_event = call_event


_EVENTS = {"on_train_begin": "begin", "on_step_end": "step", "on_log": "log", "on_train_end": "end"}


def _mark(event, step, logs):
    import json
    import time

    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    line = {"event": event, "step": step, "time": time.time(), "processor": time.process_time()}
    if event == "log":
        line["logs"] = {key: value for key, value in (logs or {}).items() if isinstance(value, int | float)}
    if event in ("begin", "end"):
        line["threads"] = torch.get_num_threads()
        line["cuda_bytes"] = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    with open(os.environ["BENCHMARK_MARKS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if os.environ.get("BENCHMARK_MARKS"):
    sys.meta_path.insert(0, _AfterImport())
