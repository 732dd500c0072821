"""What a process does on signals, with real ones: leaves, remembers, ends at once; and before its time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BEGIN = r"""
import hashlib, os, signal, subprocess, sys, threading, time
from pathlib import Path
from posttrain import stopping
from posttrain.errors import Stopped
stopping.listen()
def there():
    os.write(1, b"there\n")
def wait():
    time.sleep(60)
def stuck():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in C, without Python's lock
"""


def started(script: str, **environ: str) -> subprocess.Popen[str]:
    """Return a process that has run the script up to ``there()``."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 6) == b"there\n"  # no byte more
    return process


@pytest.mark.parametrize(("number", "code"), [("INT", 130), ("TERM", 143), ("HUP", 143), ("USR1", 143), ("USR2", 143)])
def test_a_signal_leaves_through_what_tidies_up(number: str, code: int) -> None:
    process = started("""
try:
    there(); wait()
except Exception:
    print("taken for an error")
except Stopped as stop:
    stop.kept = "two rows"
    print(stopping.last_words(stop))
    sys.exit(stop.exit_code)
finally:
    print("tidied up")
""")
    process.send_signal(getattr(signal, f"SIG{number}"))
    assert process.communicate(timeout=10) == (f"stopped by SIG{number}: two rows\ntidied up\n", "")
    assert process.returncode == code


def test_held_remembers_and_leavable_leaves() -> None:
    process = started("""
with stopping.held(lambda number: print("told of", number)):
    there()
    for _ in range(100):
        time.sleep(0.01)
    print("finished", stopping.asked())
    try:
        with stopping.leavable():
            print("not reached")
    except Stopped as stop:
        print("left", stop.number)
    print("and went on")
""")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[0] == "told of 15\nfinished 15\nleft 15\nand went on\n"


def test_what_cannot_be_interrupted_is_ended() -> None:
    process = started(
        "stopping.LEAVE_SECONDS = 0.5\nthreading.Timer(0.2, there).start(); stuck()"
    )  # it is in C when it says so
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - began < 5
    assert "had not stopped" in stderr


def test_a_second_signal_ends_it_with_its_children_even_in_c(tmp_path: Path) -> None:
    process = started("""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, file=sys.stderr, flush=True)
with stopping.held():
    there(); stuck()
""")
    assert process.stderr is not None
    child = int(process.stderr.readline())
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # the same event, as `timeout` makes it
    time.sleep(1.1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split(")")[1][:3]


def test_a_warning_is_not_the_first_of_two() -> None:
    process = started("with stopping.held():\n    there(); time.sleep(1.5)\n    print('finished')")
    process.send_signal(signal.SIGUSR1)
    time.sleep(1.1)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        process.send_signal(number)
    assert process.communicate(timeout=10)[0] == "finished\n"


def test_a_limit_leaves_the_time_that_stopping_takes() -> None:
    script = """
stopping.SPARE_SECONDS = 0.5
stopping.reserve(1.0)
began = time.time()
stopping.take_limits(3 / 60, began)
try:
    there(); wait()
except Stopped as stop:
    print(stopping.last_words(stop), stop.exit_code, 1.4 <= time.time() - began <= 2.5)
"""
    assert started(script).communicate(timeout=10)[0] == "stopped by --max-minutes 0.05 143 True\n"


def test_the_first_limit_counts_and_ranks_inherit_it() -> None:
    script = """
stopping.take_limits(60)
there()
print(os.environ[stopping.ENDS_AT])
"""
    soon = str(int(time.time()) + 600)
    printed, _ = started(script, SLURM_JOB_END_TIME=soon).communicate(timeout=10)
    assert printed == f"{float(soon)} the time limit of the SLURM job\n"


def test_a_forked_child_has_a_group_of_its_own_and_tells_nobody() -> None:
    process = started("""
child = os.fork()
if not child:
    time.sleep(60)
with stopping.held():
    while os.getpgid(child) == os.getpgid(0):
        time.sleep(0.01)
    there(); time.sleep(0.5)
    print(stopping.asked(), os.waitpid(child, os.WNOHANG) == (0, 0))
    os.kill(child, signal.SIGTERM)
    print(os.waitpid(child, 0)[1])
""")
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=10)[0] == "2 True\n15\n"


def test_nohup_is_respected() -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", BEGIN + "there(); time.sleep(1); print('still here')"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 6) == b"there\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=10)[0] == "still here\n"


def test_an_array_job_is_requeued_by_its_task() -> None:
    script = "there()\nprint(stopping.last_words(Stopped(15, 'step 3 is saved')))"
    environ = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    assert started(script, **environ).communicate()[0].splitlines() == [
        "stopped: step 3 is saved",
        "  to go on as a SLURM job: scontrol requeue 7_2",
    ]
