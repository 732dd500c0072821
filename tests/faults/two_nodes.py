"""Two machines on one: two network namespaces with names and addresses of their own, and a router between them.

    python tests/faults/two_nodes.py [SCENE ...] [--work DIR]

Each scene prints what happened and how long it took, and fails when it is not what docs/scaling.md says. It runs in
namespaces of its own (network, processes, mounts, names), so nothing of the machine is changed and everything in them
ends with this program. It needs Linux, `ip`, and either root or user namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STOPS_WITHIN_SECONDS = 60
INSIDE = "POSTTRAIN_TWO_NODES_INSIDE"

RECIPE = """
stage: sft
out: {out}
model:
  path: builtin:tiny
data:
  train:
    - path: quickstart/data/sft.jsonl
      limit: 64
train:
  max_steps: {steps}
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 1
  save_steps: 5
  learning_rate: 1e-4
launch:
  processes: {processes}
  zero: {zero}
"""

HOSTS = "127.0.0.1 localhost\n10.77.1.2 node-a\n10.77.2.2 node-b\n"


@dataclass(frozen=True)
class Node:
    """A machine: its name, the network of the router's interface to it, and the id of a process in its namespaces."""

    name: str
    network: str
    interface: str
    pid: int

    def start(
        self, argv: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program there, in our working directory; what it prints goes to `log`."""
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', os.getcwd(), *argv]
        command = ["nsenter", "--target", str(self.pid), "--net", "--uts", "--mount", "--pid", "--", *inside]
        with log.open("wb") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **(environ or {})})

    def do(self, *argv: str) -> None:
        """Run a program there to its end."""
        subprocess.run(["nsenter", "--target", str(self.pid), "--net", "--uts", "--mount", "--", *argv], check=True)


def why_not() -> str | None:
    """Return why this machine cannot be two, or None."""
    missing = [name for name in ("ip", "unshare", "nsenter", "mount") if not shutil.which(name)]
    if missing:
        return f"no program {', '.join(missing)}"
    asked = subprocess.run([*_unshare(), "sh", "-c", _TRY], capture_output=True, text=True)
    return None if asked.returncode == 0 else f"no network namespaces: {(asked.stderr or asked.stdout).strip()}"


_TRY = "ip link add try-a type veth peer name try-b && echo 1 > /proc/sys/net/ipv4/ip_forward"


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def make_nodes(folder: Path) -> tuple[Node, Node]:
    """Return two machines with one router, which is us, between them."""
    (folder / "hosts").write_text(HOSTS)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # where nobody answers, at once
    forward(True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return _make_node("node-a", "10.77.1", folder), _make_node("node-b", "10.77.2", folder)


def _make_node(name: str, network: str, folder: Path) -> Node:
    interface = f"to-{name}"
    begin = (
        f"mount --bind {folder / 'hosts'} /etc/hosts && mount --bind {folder / 'resolv.conf'} /etc/resolv.conf && "
        f"hostname {name} && exec sleep infinity"
    )
    options = ["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    holder = subprocess.Popen(["unshare", *options, "sh", "-c", begin])
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
    node = Node(name, network, interface, int(soon(lambda: children.read_text().split())[0]))
    soon(lambda: Path(f"/proc/{node.pid}/comm").read_text() == "sleep\n")
    peer = ["peer", "name", "eth0", "netns", str(node.pid)]
    for command in (
        ["ip", "link", "add", interface, "type", "veth", *peer],
        ["ip", "addr", "add", f"{network}.1/24", "dev", interface],
        ["ip", "link", "set", interface, "up"],
    ):
        subprocess.run(command, check=True)
    node.do("ip", "link", "set", "lo", "up")
    node.do("ip", "addr", "add", f"{network}.2/24", "dev", "eth0")
    node.do("ip", "link", "set", "eth0", "up")
    node.do("ip", "route", "add", "default", "via", f"{network}.1")
    return node


def forward(on: bool) -> None:
    """Pass packets between the machines, or drop them without a word to either."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text(str(int(on)))


def soon(ask, seconds: float = 400.0):  # type: ignore[no-untyped-def]
    """Return what `ask` returns once that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not so after {seconds} seconds")


def posttrain(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "posttrain", *arguments]


def start_ranks(nodes: Sequence[Node], name: str, *more: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """Start one rank on each node, as torchrun or Kubernetes does: by the environment."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "node-a", "MASTER_PORT": "29500"}
    return [
        node.start(
            posttrain("sft", f"{name}.yaml", *(more[rank] if more else ())),
            Path(f"{name}.{node.name}.log"),
            {**shared, "RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        )
        for rank, node in enumerate(nodes)
    ]


def write_recipe(name: str, *, zero: int = 0, processes: int | str = 1, steps: int = 30) -> None:
    Path(f"{name}.yaml").write_text(RECIPE.format(out=f"runs/{name}", zero=zero, processes=processes, steps=steps))


def losses(name: str) -> list[tuple[int, float]]:
    path = Path("runs", name, "metrics.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(row["step"], row["loss"]) for row in rows if row["split"] == "train"]


def last_words(name: str, node: Node) -> str:
    """Return the error that a rank ended with."""
    text = Path(f"{name}.{node.name}.log").read_text()
    return text[text.rindex("error: ") :].strip() if "error: " in text else f"(no error)\n{text[-500:]}"


def wait_for(ranks: Sequence[subprocess.Popen[bytes]], seconds: float = 400) -> list[int]:
    return [rank.wait(seconds) for rank in ranks]


def same(one: Sequence[tuple[int, float]], other: Sequence[tuple[int, float]]) -> float:
    """Return the largest difference between two runs' losses, which have the same steps."""
    assert [step for step, _ in one] == [step for step, _ in other], (one, other)
    return max(abs(a - b) for (_, a), (_, b) in zip(one, other, strict=True))


def on_one_machine(zero: int, steps: int) -> str:
    """Return the name of a run by two processes on one machine, made once."""
    name = f"one-zero{zero}-{steps}"
    if not Path("runs", name, "run.json").exists():
        write_recipe(name, zero=zero, processes=2, steps=steps)
        subprocess.run(posttrain("sft", f"{name}.yaml"), check=True, stderr=subprocess.DEVNULL, timeout=400)
    return name


def trains(nodes: tuple[Node, Node], zero: int) -> None:
    """Two machines compute what two processes on one do."""
    name, alone = f"two-zero{zero}", on_one_machine(zero, 10)
    write_recipe(name, zero=zero, steps=10)
    started = time.monotonic()
    codes = wait_for(start_ranks(nodes, name))
    assert codes == [0, 0], [last_words(name, node) for node in nodes]
    difference = same(losses(name), losses(alone))
    say(f"10 steps on two machines in {time.monotonic() - started:.0f} s, losses differ by {difference:.1e}")
    assert difference < 1e-6


def is_cut(nodes: tuple[Node, Node], zero: int, silent: bool) -> None:
    """The link is cut while they train: both end, say why, and go on to the same end when it is back."""
    name = f"cut-{'silently' if silent else 'link'}-zero{zero}"
    write_recipe(name, zero=zero)
    ranks = start_ranks(nodes, name)
    soon(lambda: len(losses(name)) >= 12)
    cut = time.monotonic()
    if silent:
        forward(False)
    else:
        subprocess.run(["ip", "link", "set", nodes[1].interface, "down"], check=True)
    codes, ends = [], []
    for rank in ranks:
        codes.append(rank.wait(400))
        ends.append(time.monotonic() - cut)
    say(f"cut after step {len(losses(name))}: ended with {codes}, all within {max(ends):.0f} s")
    for node in nodes:
        say(f"  {node.name}: {last_words(name, node)}")
    assert codes == [1, 1] and max(ends) < STOPS_WITHIN_SECONDS
    assert "rank 1 (node-b)" in last_words(name, nodes[0]) and "rank 0 (node-a)" in last_words(name, nodes[1])
    forward(True)
    if not silent:
        subprocess.run(["ip", "link", "set", nodes[1].interface, "up"], check=True)
    assert wait_for(start_ranks(nodes, name)) == [0, 0], [last_words(name, node) for node in nodes]
    difference = same(losses(name), losses(on_one_machine(zero, 30)))
    say(f"resumed to the end: losses differ by {difference:.1e} from a run that was not cut")
    assert difference < 1e-5


def is_killed(nodes: tuple[Node, Node]) -> None:
    """A rank is killed: the other ends and names it."""
    write_recipe("killed", steps=200)
    ranks = start_ranks(nodes, "killed")
    soon(lambda: len(losses("killed")) >= 3)
    killed = time.monotonic()
    rank = Path(f"/proc/{ranks[1].pid}/task/{ranks[1].pid}/children").read_text().split()
    os.kill(int(rank[0]), signal.SIGKILL)
    code = ranks[0].wait(400)
    say(f"rank 1 killed: rank 0 ended with {code} after {time.monotonic() - killed:.1f} s")
    say(f"  node-a: {last_words('killed', nodes[0])}")
    assert code == 1 and "rank 1 (node-b) is gone" in last_words("killed", nodes[0])
    ranks[1].wait(10)


def crashes(nodes: tuple[Node, Node]) -> None:
    """What one rank alone cannot do ends both with its message."""
    write_recipe("disagree")
    codes = wait_for(start_ranks(nodes, "disagree", [], ["--set", "train.learning_rate=2e-4"]))
    say(f"another recipe on node-b: {codes}")
    for node in nodes:
        say(f"  {node.name}: {last_words('disagree', node)}")
        assert "0.0002 on rank 1 (node-b)" in last_words("disagree", node)
    assert codes == [2, 2]


def shares_nothing(nodes: tuple[Node, Node]) -> None:
    """The run directory is another one on each machine."""
    write_recipe("unshared")
    Path("runs", "unshared").mkdir(parents=True)
    nodes[1].do("mount", "-t", "tmpfs", "none", str(Path("runs", "unshared").absolute()))
    started = time.monotonic()
    codes = wait_for(start_ranks(nodes, "unshared"))
    say(f"no shared file system: {codes} after {time.monotonic() - started:.0f} s")
    for node in nodes:
        say(f"  {node.name}: {last_words('unshared', node)}")
        assert "not seen by rank 1 (node-b)" in last_words("unshared", node)
    assert codes == [2, 2]


SSHD = """
HostKey {folder}/key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
"""
SSH = """
IdentityFile {folder}/key
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


def serve_ssh(nodes: Sequence[Node]) -> None:
    """Start an ssh server on each node, and let each in to the others without a password. Needs root."""
    folder = Path("ssh").absolute()
    if folder.exists():
        return
    folder.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    (folder / "sshd_config").write_text(SSHD.format(folder=folder))
    (folder / "config").write_text(SSH.format(folder=folder))
    home = Path.home() / ".ssh"
    home.mkdir(exist_ok=True)
    for node in nodes:
        node.do("mount", "--bind", str(folder), str(home))
        node.do("mount", "-t", "tmpfs", "none", "/run")
        node.do("mkdir", "/run/sshd")
        node.start([shutil.which("sshd") or "sshd", "-D", "-e", "-f", str(folder / "sshd_config")], Path("sshd.log"))


def by_hostfile(nodes: tuple[Node, Node]) -> None:
    """DeepSpeed's launcher starts the ranks from node-a, by pdsh; when they are cut off all of it ends."""
    if missing := [name for name in ("pdsh", "ssh", "sshd") if not shutil.which(name)]:
        say(f"  left out: no program {', '.join(missing)}")
        return
    serve_ssh(nodes)
    Path("hosts.txt").write_text("node-a slots=1\nnode-b slots=1\n")
    write_recipe("hostfile", zero=2)
    command = posttrain("sft", "hostfile.yaml", "--set", "launch.hostfile=hosts.txt", "--set", "launch.processes=auto")
    log = Path("hostfile.node-a.log")
    run = nodes[0].start(command, log)
    soon(lambda: len(losses("hostfile")) >= 12)
    cut = time.monotonic()
    forward(False)
    code = run.wait(400)
    ended = time.monotonic() - cut
    soon(lambda: not ranks_on(nodes[1]), STOPS_WITHIN_SECONDS)
    say(f"cut after step {len(losses('hostfile'))}: the command ended with {code} after {ended:.0f} s")
    say(f"  node-a: {last_words('hostfile', nodes[0])}")
    say(f"  no rank on node-b after {time.monotonic() - cut:.0f} s")
    assert code == 1 and ended < STOPS_WITHIN_SECONDS and "rank 1 (node-b)" in last_words("hostfile", nodes[0])
    forward(True)
    assert nodes[0].start(command, log).wait(400) == 0, log.read_text()[-2000:]
    difference = same(losses("hostfile"), losses(on_one_machine(2, 30)))
    say(f"resumed to the end: losses differ by {difference:.1e} from a run that was not cut")
    assert difference < 1e-5


def ranks_on(node: Node) -> list[str]:
    """Return the process ids of posttrain's ranks on a node."""
    network, found = os.readlink(f"/proc/{node.pid}/ns/net"), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            here = os.readlink(process / "ns/net") == network
            if here and b"posttrain.launch.worker" in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def say(text: str) -> None:
    print(text, flush=True)


SCENES: dict[str, Callable[[tuple[Node, Node]], None]] = {
    "trains": lambda nodes: trains(nodes, 0),
    "trains-zero2": lambda nodes: trains(nodes, 2),
    "cut-silently": lambda nodes: is_cut(nodes, 0, silent=True),
    "cut-silently-zero2": lambda nodes: is_cut(nodes, 2, silent=True),
    "cut-link": lambda nodes: is_cut(nodes, 0, silent=False),
    "cut-link-zero2": lambda nodes: is_cut(nodes, 2, silent=False),
    "killed": is_killed,
    "disagree": crashes,
    "unshared": shares_nothing,
    "hostfile": by_hostfile,
}


def in_namespaces(script: str, about: str | None, scenes: Sequence[str] = ()) -> Path:
    """Return the directory to work in, with the shipped rows, once this program runs in namespaces of its own: the
    first time it starts itself there, and ends with it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=", ".join(scenes))
    parser.add_argument("--work", type=Path, help="a directory for the runs; else one that is deleted")
    given = parser.parse_args()
    if unknown := set(given.scenes) - set(scenes):
        parser.error(f"no scene {', '.join(unknown)}")
    if INSIDE in os.environ:
        os.chdir(given.work)
        subprocess.run(posttrain("recipe", "copy", "quickstart", "."), check=True, stdout=subprocess.DEVNULL)
        return Path.cwd()
    if reason := why_not():
        sys.exit(reason)
    work = given.work or Path(tempfile.mkdtemp(prefix="two-nodes-"))
    work.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environ = {**os.environ, INSIDE: "1", "PYTHONPATH": path, "POSTTRAIN_CACHE": str(work.absolute() / "cache")}
    command = [*_unshare(), sys.executable, script, *given.scenes, "--work", str(work.absolute())]
    code = subprocess.run(command, env={"OMP_NUM_THREADS": "1", **environ}).returncode
    if given.work is None:
        shutil.rmtree(work)
    sys.exit(code)


def main() -> None:
    work = in_namespaces(__file__, __doc__, list(SCENES))
    nodes = make_nodes(work)
    for name in [name for name in sys.argv[1:] if name in SCENES] or SCENES:
        say(f"{name}:")
        SCENES[name](nodes)


if __name__ == "__main__":
    main()
