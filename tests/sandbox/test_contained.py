"""Attacks by a script, at each level of isolation that the machine allows. Each gets nothing and harms nothing."""

from __future__ import annotations

import os
import socket
import textwrap
import time
from pathlib import Path

import pytest

from posttrain.sandbox import Limits, Output, Zygote, run_script

SHORT = Limits(1.0, memory_bytes=200 << 20, file_bytes=4 << 20)
LONG_ENOUGH = SHORT._replace(seconds=10.0)


def attack(zygote: Zygote, text: str, limits: Limits = LONG_ENOUGH) -> Output:
    return run_script(zygote, textwrap.dedent(text), "", limits)


def printed(output: Output) -> str:
    assert output.ended.statuses == [0], output.stderr.decode()
    return output.stdout.decode().strip()


def processes_with(text: str) -> list[int]:
    """Return the processes of this machine whose command line or name holds a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if text in path.read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_an_honest_script_runs(any_zygote: Zygote) -> None:
    output = run_script(
        any_zygote,
        textwrap.dedent("""
        import asyncio, atexit, colorsys, dataclasses, sqlite3, sys, tempfile, threading, zoneinfo

        @dataclasses.dataclass
        class Point:
            x: int

        async def nothing():
            await asyncio.sleep(0)

        atexit.register(lambda: print("last"))
        asyncio.run(nothing())
        thread = threading.Thread(target=lambda: print(input() + input(), flush=True))
        thread.start()
        thread.join()
        with tempfile.TemporaryFile() as file:
            file.write(b"x" * 1000)
        print(Point(1), __name__, sys.argv)
        exit()
        """),
        "first\nsecond\n",
        LONG_ENOUGH,
    )
    assert printed(output) == "firstsecond\nPoint(x=1) __main__ ['program.py']\nlast"


def test_an_exception_is_a_status_and_its_last_line(any_zygote: Zygote) -> None:
    output = attack(any_zygote, "print('before')\n1 / 0")
    assert (output.stdout, output.ended.why, output.ended.statuses) == (b"before\n", "exited", [1])
    assert output.stderr.decode().strip().endswith("ZeroDivisionError: division by zero")


@pytest.mark.slow
def test_a_loop_that_ignores_signals_ends(any_zygote: Zygote) -> None:
    start = time.monotonic()
    output = attack(
        any_zygote,
        """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
        """,
        SHORT,
    )
    assert output.ended.why == "timed out"
    assert time.monotonic() - start < 10


def test_a_sleeper_ends(any_zygote: Zygote) -> None:
    start = time.monotonic()
    output = attack(any_zygote, "import time; time.sleep(1000)", SHORT._replace(seconds=0.3))
    assert output.ended.why == "timed out" and time.monotonic() - start < 5


@pytest.mark.slow
def test_memory_is_limited(any_zygote: Zygote) -> None:
    output = attack(
        any_zygote,
        """
        taken = []
        try:
            while True:
                taken.append(bytearray(1 << 20))
        except MemoryError:
            count = len(taken)
            taken.clear()
        print(count)
        """,
    )
    assert 100 < int(printed(output)) <= 200


def test_memory_that_is_no_address_space_is_not_to_be_had(zygote: Zygote) -> None:
    output = attack(
        zygote,
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        refused = []
        try:
            os.memfd_create("x")
        except PermissionError:
            refused.append("memfd")
        if libc.shmget(0, 1 << 20, 0o1600) < 0:
            refused.append("shm")
        if libc.msgget(0, 0o1600) < 0:
            refused.append("msg")
        print(refused)
        """,
    )
    assert printed(output) == "['memfd', 'shm', 'msg']"


@pytest.mark.slow
def test_files_are_limited(any_zygote: Zygote) -> None:
    output = attack(
        any_zygote,
        """
        import os
        try:
            for number in range(100_000):
                with open(f"file{number}", "wb") as file:
                    for _ in range(8):
                        file.write(b"x" * (1 << 20))
        except OSError as error:
            written = sum(os.path.getsize(name) for name in os.listdir("."))
            print(written)
        """,
    )
    # One file ends at the limit, all together at the limit of the directory.
    assert int(printed(output)) <= SHORT.file_bytes


@pytest.mark.slow
def test_many_small_files_are_limited(any_zygote: Zygote) -> None:
    output = attack(
        any_zygote,
        """
        import os, time
        for number in range(20_000):
            os.mkdir(str(number))
        time.sleep(5)
        """,
    )
    assert output.ended.why == "too many files" or b"No space left" in output.stderr


@pytest.mark.slow
def test_output_is_limited(any_zygote: Zygote) -> None:
    start = time.monotonic()
    output = attack(any_zygote, "while True: print('x' * 100_000)")
    assert output.ended.why == "exited" and output.ended.statuses == [1]
    assert len(output.stdout) <= SHORT.file_bytes
    assert time.monotonic() - start < 10


def test_no_process_is_started(zygote: Zygote) -> None:
    output = attack(
        zygote,
        """
        import os, subprocess
        refused = []
        for start in (os.fork, lambda: subprocess.run(["/bin/true"]), lambda: os.execv("/bin/true", ["true"]),
                      lambda: os.posix_spawn("/bin/true", ["true"], {}), lambda: os.system("true") and 1 / 0):
            try:
                start()
            except (OSError, ZeroDivisionError) as error:
                refused.append(start)
        print(len(refused))
        """,
    )
    assert printed(output) == "5"


def test_a_fork_bomb_does_not_begin(zygote: Zygote) -> None:
    # Bounded by itself, should the sandbox fail: at most 2 ** 6 processes that end after two seconds.
    output = attack(
        zygote,
        """
        import ctypes, os, time
        ctypes.CDLL(None).prctl(15, b"pt-bomb", 0, 0, 0)
        for _ in range(6):
            try:
                os.fork()
            except OSError:
                print("refused")
        time.sleep(0.2)
        """,
    )
    assert printed(output) == "\n".join(["refused"] * 6)
    assert processes_with("pt-bomb") == []


@pytest.mark.slow
def test_threads_are_bounded(zygote: Zygote) -> None:
    output = attack(
        zygote,
        """
        import threading, time
        count = 0
        try:
            while count < 3000:
                threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
                count += 1
        except RuntimeError:
            pass
        print(count)
        """,
    )
    assert 1 <= int(printed(output)) <= 100


@pytest.mark.slow
def test_what_is_left_behind_is_killed(any_zygote: Zygote) -> None:
    """Where processes can be started at all, with limits alone, none outlives the run."""
    attack(
        any_zygote,
        """
        import ctypes, os, time
        def daemon():
            if os.fork():
                return
            os.setsid()
            if os.fork():
                os._exit(0)
            ctypes.CDLL(None).prctl(15, b"pt-daemon", 0, 0, 0)
            time.sleep(30)
            os._exit(0)
        for _ in range(5):
            daemon()
        time.sleep(0.3)
        """,
    )
    assert processes_with("pt-daemon") == []


@pytest.mark.parametrize(
    "family, kind", [("AF_INET", "SOCK_STREAM"), ("AF_INET", "SOCK_DGRAM"), ("AF_INET6", "SOCK_STREAM")]
)
def test_no_network_not_even_this_machine(zygote: Zygote, family: str, kind: str) -> None:
    kind_number = socket.SOCK_STREAM if kind == "SOCK_STREAM" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind_number) as server:
        server.bind(("127.0.0.1", 0))
        if kind == "SOCK_STREAM":
            server.listen()
        server.settimeout(0.2)
        host = {"AF_INET": "127.0.0.1", "AF_INET6": "::ffff:127.0.0.1"}[family]
        output = attack(
            zygote,
            f"""
            import socket
            for host in ({host!r}, "192.0.2.1"):
                try:
                    with socket.socket(socket.{family}, socket.{kind}) as client:
                        client.settimeout(1)
                        client.connect((host, {server.getsockname()[1]}))
                        client.send(b"secret")
                    print("sent")
                except OSError as error:
                    print("refused")
            """,
        )
        assert printed(output) == "refused\nrefused"
        with pytest.raises(TimeoutError):
            server.recvfrom(10) if kind == "SOCK_DGRAM" else server.accept()


def test_no_sockets_of_other_kinds(zygote: Zygote) -> None:
    output = attack(
        zygote,
        """
        import ctypes, socket
        libc = ctypes.CDLL(None, use_errno=True)
        for family in (socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
            try:
                socket.socket(family, socket.SOCK_DGRAM)
                print("a socket of", family)
            except OSError:
                pass
        # The same by way of io_uring, and by the numbers of another ABI.
        print(libc.syscall(425, 1, bytes(120)), libc.syscall(0x40000000 + 41, 2, 1, 0))
        """,
    )
    assert printed(output) == "-1 -1"


def test_nothing_of_the_user_is_read(zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "sk-hidden")
    home = Path.home()
    secret = tmp_path / "secret.txt"
    secret.write_text("sk-hidden")
    secret.chmod(0o644)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    wanted = [str(secret), str(home), "/etc/passwd", "/etc/hostname", f"/proc/{os.getpid()}/environ", "/proc/self/maps"]
    output = attack(
        zygote,
        f"""
        import os
        for path in {wanted!r}:
            for read in (os.listdir, lambda path: open(path).read(), lambda path: os.open(path, os.O_RDONLY)):
                try:
                    print(read(path))
                except OSError:
                    pass
        print([name for name, value in os.environ.items() if "hidden" in value])
        """,
    )
    assert printed(output) == "[]"


def test_only_its_own_directory_is_written(zygote: Zygote, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    output = attack(
        zygote,
        f"""
        import os, sys
        for folder in ({str(tmp_path)!r}, "/", "/usr/lib", "/dev", "/dev/shm", *sys.path):
            try:
                open(os.path.join(folder, "written"), "w").close()
                print("wrote in", folder)
            except OSError:
                pass
        open("own", "w").close()
        print(os.listdir("."))
        """,
    )
    assert printed(output) == "['own']"
    assert list(tmp_path.iterdir()) == []
    assert printed(attack(zygote, "import os; print(os.listdir('.'))")) == "[]"


def test_other_processes_are_out_of_reach(zygote: Zygote) -> None:
    output = attack(
        zygote,
        f"""
        import ctypes, os, signal
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.restype = ctypes.c_long
        reached = []
        for process in ({os.getpid()}, os.getppid(), -1, 0, 1):
            if process == os.getpid():
                continue
            for number in (0, signal.SIGCONT):
                try:
                    os.kill(process, number)
                    reached.append(("kill", process))
                except OSError:
                    pass
            if process > 0 and libc.ptrace(16, process, 0, 0) == 0:
                reached.append(("ptrace", process))
            try:
                os.pidfd_open(process)
                reached.append(("pidfd", process))
            except OSError:
                pass
        print(reached)
        """,
    )
    assert printed(output) == "[]"


def test_privileges_cannot_be_had(zygote: Zygote) -> None:
    output = attack(
        zygote,
        """
        import ctypes, os, resource
        libc = ctypes.CDLL(None, use_errno=True)
        got = []
        for name, call in {
            "user namespace": lambda: libc.unshare(0x10000000),
            "mount": lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
            "chroot": lambda: libc.chroot(b"/"),
            "user": lambda: libc.setuid(0) if os.getuid() else -1,
            "hostname": lambda: libc.sethostname(b"x", 1),
        }.items():
            if call() == 0:
                got.append(name)
        for which in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
            soft, hard = resource.getrlimit(which)
            try:
                resource.setrlimit(which, (soft, resource.RLIM_INFINITY))
                got += [f"limit {which}"] if hard != resource.RLIM_INFINITY else []
            except (OSError, ValueError):
                pass
        print(got)
        """,
    )
    assert printed(output) == "[]"


def test_a_script_after_another_finds_nothing_of_it(any_zygote: Zygote) -> None:
    attack(any_zygote, "import builtins, json; builtins.left = json.left = 1; open('left', 'w').close()")
    output = attack(any_zygote, "import builtins, json, os; print(hasattr(builtins, 'left'), hasattr(json, 'left'))")
    assert printed(output) == "False False"
