"""Which level is reached, and what is said where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import posttrain
from posttrain.sandbox import Isolation, level, required
from posttrain.sandbox.inside import kernel, landlock
from posttrain.sandbox.levels import probed

PACKAGE = Path(posttrain.__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"


def test_a_level_that_isolates_lets_nothing_out(isolation: Isolation) -> None:
    found = probed(isolation)
    assert found.missing == "" and "seccomp" in found.words
    assert ("namespaces" in found.words) == (isolation == "namespaces")
    assert ("Landlock" in found.words) == (landlock.version() > 0)


def test_limits_alone_are_no_sandbox() -> None:
    found = probed("limits")
    assert found.words == "limits only: NOT a sandbox"
    assert "read a file" in found.missing and "connect to 127.0.0.1" in found.missing


# Processes in which the kernel refuses what the isolation is made of: they put themselves under a filter first.
REFUSING = """
    import sys
    from posttrain.errors import UserError
    from posttrain.sandbox import required, level
    from posttrain.sandbox.inside import kernel, seccomp
    kernel.prctl(38, 1)
    seccomp.install(seccomp.refusing(sys.argv[1].split(",")))
    print(level().words)
    try:
        print(required("require").isolation)
    except UserError as error:
        print(error)
    sys.stderr = sys.stdout
    print(required("auto").isolation, required("auto").isolation)
    """


def run_python(text: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(text), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(PACKAGE.parent)})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not kernel.KNOWN_MACHINE, reason="no system call numbers for this machine")
def test_without_namespaces_there_is_landlock() -> None:
    if not landlock.version():
        pytest.skip("no Landlock here")
    assert run_python(REFUSING, "unshare") == "Landlock + seccomp\nlandlock\nlandlock landlock\n"


@pytest.mark.skipif(not kernel.KNOWN_MACHINE, reason="no system call numbers for this machine")
def test_without_either_it_is_refused_with_what_is_missing() -> None:
    first, *refusal, warning, auto = run_python(REFUSING, "unshare,landlock_create_ruleset").splitlines()
    assert first == "limits only: NOT a sandbox" and auto == "limits limits"
    assert warning.startswith("warning: programs run with limits only: NOT a sandbox (namespaces: ")
    text = "\n".join(refusal)
    assert text.startswith("programs cannot be isolated on this machine (namespaces: ")
    assert "unshare: Operation not permitted" in text and "landlock" in text and "sandbox: auto" in text


def test_the_level_is_found_once() -> None:
    assert level() is level()
    assert required("auto") is level()


def test_another_user_is_isolated_too(tmp_path: Path) -> None:
    """The package's own files, run by nobody with the system's Python: neither belongs to this user."""
    if os.geteuid() != 0 or not Path(SYSTEM_PYTHON).exists():
        pytest.skip("needs root, to become another user, and a Python for all")
    copy = tmp_path / "copy" / "posttrain"
    shutil.copytree(PACKAGE / "sandbox", copy / "sandbox")
    shutil.copy(PACKAGE / "errors.py", copy)
    (copy / "__init__.py").touch()
    for path in (*tmp_path.parents[:-2], tmp_path, *tmp_path.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    text = """
        from posttrain.sandbox import Configuration, Limits, lent, run_script
        from posttrain.sandbox.levels import probed
        for isolation in ("namespaces", "landlock"):
            print(isolation, probed(isolation).missing or "holds")
            if not probed(isolation).missing:
                with lent(Configuration(isolation)) as zygote:
                    output = run_script(zygote, "import colorsys, os; print(os.getuid())", "", Limits(5.0))
                    print(output.stdout.decode().strip(), output.ended.statuses)
        """
    environment = {"PYTHONPATH": str(copy.parent)}
    command = [SYSTEM_PYTHON, "-c", textwrap.dedent(text)]
    done = subprocess.run(command, user="nobody", group="nogroup", env=environment, capture_output=True, text=True)
    nobody = f"{65534} [0]"
    assert done.stderr == ""
    for isolation in ("namespaces", "landlock"):
        if not probed(isolation).missing:  # type: ignore[arg-type]
            assert f"{isolation} holds\n{nobody}" in done.stdout


def test_the_children_import_no_posttrain() -> None:
    """The other side runs on the standard library alone, from its own files."""
    for path in (PACKAGE / "sandbox" / "inside").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import posttrain" not in text and "from posttrain" not in text, path
