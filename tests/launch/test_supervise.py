"""Real processes that finish, fail, killed, or told to stop: how the run ends, with which error."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posttrain.errors import GateError, Stopped, UserError
from posttrain.launch.failure import RankFailed, write_failure
from posttrain.launch.plan import PARENT_PID, Plan, Process
from posttrain.launch.supervise import run_plan
from posttrain.stopping import AGAIN_SECONDS

WAIT = "import time; time.sleep(60)"
FAIL = """
import sys
from pathlib import Path
from posttrain.errors import UserError, GateError
from posttrain.launch.failure import exit_code_of, write_failure
try:
    {}
except Exception as error:
    write_failure(Path(sys.argv[1]), {}, error)
    sys.exit(exit_code_of(error))
"""
SAVE_ON_SIGNAL = """
import signal, sys, time
from pathlib import Path
def save(number, frame):
    time.sleep({seconds})
    Path(sys.argv[1], "saved-{rank}").write_text(str(number))
    sys.exit(128 + number)
signal.signal(signal.SIGINT, save)
signal.signal(signal.SIGTERM, save)
Path(sys.argv[1], "ready-{rank}").touch()
time.sleep(60)
"""


def plan(run: Path, *scripts: str) -> Plan:
    return Plan(
        run,
        len(scripts),
        tuple(
            Process(
                f"rank {rank}",
                (sys.executable, "-c", script, str(run)),
                {"RANK": str(rank)},
                run / "logs" / f"rank-{rank}.log" if rank else None,
            )
            for rank, script in enumerate(scripts)
        ),
    )


def wait_for(*paths: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f"not there after {seconds} s: {paths}"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_finish(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = "import os; print('hello from', os.environ['RANK'])"
    run_plan(plan(tmp_path, script, script))
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "hello from 0\n")
    assert (tmp_path / "logs" / "rank-1.log").read_text() == "hello from 1\n"


def test_user_error_of_a_rank_is_the_runs_error(tmp_path: Path) -> None:
    fail = FAIL.format("raise UserError('no such column', where='a.jsonl:3 data', fix='name it')", 1)
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        run_plan(plan(tmp_path, WAIT, fail))
    assert str(error.value) == "a.jsonl:3 data: no such column\n  name it"
    assert error.value.exit_code == 2
    assert time.monotonic() - started < 10


def test_gate_of_a_rank(tmp_path: Path) -> None:
    with pytest.raises(GateError) as error:
        run_plan(plan(tmp_path, FAIL.format("raise GateError('every reward is 0')", 0)))
    assert error.value.exit_code == 3


def test_crash_shows_the_tracebacks_end(tmp_path: Path) -> None:
    with pytest.raises(RankFailed) as error:
        run_plan(plan(tmp_path, WAIT, FAIL.format("{}['loss']", 1)))
    assert str(error.value).startswith("rank 1 crashed\nTraceback")
    assert str(error.value).endswith("KeyError: 'loss'")
    assert error.value.exit_code == 1


def test_the_first_to_fail_is_named(tmp_path: Path) -> None:
    """Rank 0 fails because rank 1 did, and is seen to end first."""
    first = FAIL.format("raise ValueError('the cause')", 1)
    first = first.replace("sys.exit", "import time; time.sleep(2); sys.exit")
    second = "import time; time.sleep(1)" + FAIL.format("raise RuntimeError('connection closed by peer')", 0)
    with pytest.raises(RankFailed, match="the cause"):
        run_plan(plan(tmp_path, second, first))


def test_process_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(RankFailed, match=r"(?s)rank 1 ended with exit code 7.*the last words"):
        run_plan(plan(tmp_path, WAIT, "import sys; print('the last words'); sys.exit(7)"))


def test_killed_rank_is_named_before_the_errors_it_causes(tmp_path: Path) -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    peer = FAIL.format("raise RuntimeError('connection closed by peer')", 0)
    with pytest.raises(RankFailed, match=r"(?s)rank 1 was killed by SIGKILL.*memory"):
        run_plan(plan(tmp_path, peer.replace("try:", "import time; time.sleep(1)\ntry:"), kill))


def test_failures_of_an_earlier_start_are_forgotten(tmp_path: Path) -> None:
    write_failure(tmp_path, 0, ValueError("old"))
    with pytest.raises(RankFailed, match="exit code 7"):
        run_plan(plan(tmp_path, "import sys; sys.exit(7)"))
    assert not list((tmp_path / "logs").glob("*.json"))


def test_a_ranks_own_children_go_with_it(tmp_path: Path) -> None:
    child = (
        "import subprocess, sys, pathlib; child = subprocess.Popen([sys.executable, '-c', 'import time; "
        "time.sleep(60)']); pathlib.Path(sys.argv[1], 'child').write_text(str(child.pid)); sys.exit(7)"
    )
    with pytest.raises(RankFailed):
        run_plan(plan(tmp_path, child))
    time.sleep(0.2)
    assert not alive(int((tmp_path / "child").read_text()))


PARENT = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from posttrain.errors import Stopped
from tests.launch.test_supervise import SAVE_ON_SIGNAL, plan, run_plan
scripts = [SAVE_ON_SIGNAL.format(rank=rank, seconds=rank * {seconds}) for rank in range(2)]
try:
    run_plan(plan(Path(sys.argv[1]), *scripts))
except Stopped as stop:
    sys.exit(stop.exit_code)
"""


def start_parent(run: Path, seconds: float) -> subprocess.Popen[bytes]:
    path = [str(Path(__file__).parents[2])]
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(path=path, seconds=seconds), str(run)])
    wait_for(run / "ready-0", run / "ready-1")
    return parent


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_reach_every_rank_and_all_may_save(tmp_path: Path, number: int, code: int) -> None:
    parent = start_parent(tmp_path, seconds=1)
    parent.send_signal(number)
    assert parent.wait(timeout=30) == code
    assert [(tmp_path / f"saved-{rank}").read_text() for rank in range(2)] == [str(number)] * 2


def test_second_signal_kills(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, seconds=60)
    parent.send_signal(signal.SIGINT)
    wait_for(tmp_path / "saved-0")
    time.sleep(AGAIN_SECONDS)  # before that it is the same one
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=10) == 130
    assert not (tmp_path / "saved-1").exists()


def test_rank_that_stops_by_itself(tmp_path: Path) -> None:
    with pytest.raises(Stopped) as stop:
        run_plan(plan(tmp_path, "import sys; sys.exit(143)", "import sys, time; time.sleep(1); sys.exit(143)"))
    assert stop.value.exit_code == 143


ORPHAN = """
import os, subprocess, sys
from pathlib import Path
rank = '''
import os, sys, time
from pathlib import Path
from posttrain.launch.worker import run_rank
def work(run):
    Path(run, "rank").write_text(str(os.getpid()))
    time.sleep(60)
sys.exit(run_rank(Path(sys.argv[1]), work))
'''
environ = {**os.environ, "%s": str(os.getpid())}
child = subprocess.Popen([sys.executable, "-c", rank, sys.argv[1]], env=environ, start_new_session=True)
child.wait()
"""


@pytest.mark.slow
def test_ranks_end_with_their_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN % PARENT_PID, str(tmp_path)])
    wait_for(tmp_path / "rank")
    rank = int((tmp_path / "rank").read_text())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(rank) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(rank)
