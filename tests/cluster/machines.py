"""Machines in one: each has processes, a network address, a host name and a folder of its own.

A machine is a set of namespaces without names that one process holds; the bridge between them is another one's. They
end with that process, and it ends with the one that runs the tests, however that ends: nothing is left behind, and two
runs at once don't meet.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from scn.core import memory

HOLD = ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net"]
OWN = ["--mount", "--uts", "--ipc"]
STAY = "echo ready; exec 2> /dev/null; while :; do sleep 1d || :; done"  # a shell: the first process adopts orphans
TOOLS = ("ip", "unshare", "nsenter", "setpriv", "mount", "hostname", "bash", "env")
MEMORY = 3 * 2**30
"""Bytes that three nodes, the service and their commands take."""
BRIDGE = "ip link set lo up; ip link add bridge type bridge; ip link set bridge up;"
BOOT = 'hostname "$0"; mount --bind "$1" "$2"; mount --bind "$3" /etc/hosts; mount -t tmpfs tmpfs /dev/shm;'


class Impossible(Exception):  # noqa: N818 - why no machines can be made here
    """No machines can be made here; its text says why."""


def require() -> None:
    """Raises Impossible where it is known beforehand."""
    if os.geteuid():
        raise Impossible("machines are made of namespaces by root alone")
    for tool in TOOLS:
        if not shutil.which(tool):
            raise Impossible(f"there is no command `{tool}` here (Debian: iproute2, util-linux, hostname)")
    needed = MEMORY * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if needed > memory.free():
        told = f"{needed / 2**30:.0f} GiB of memory are needed and {memory.free() / 2**30:.1f} are free"
        raise Impossible(f"{told}: run fewer files at once (-n 1)")


class Machine:
    """A machine on the network, which sees its own folder where all the others see theirs.

    Args:
        name: its host name.
        address: its IPv4 address.
        folder: its folder, as the tests see it.
        seen: the path at which the machine itself sees that folder.
        pid: its first process.
    """

    def __init__(self, name: str, address: str, folder: Path, seen: Path, pid: int) -> None:
        self.name, self.address, self.folder, self.seen, self.pid = name, address, folder, seen, pid

    def start(
        self, words: Sequence[str | Path], variables: Mapping[str, str], inside: str = ".", **options: Any
    ) -> subprocess.Popen[str]:
        """Starts a command in the machine's folder, or a folder `inside` of it.

        Args:
            variables: its environment, besides PATH, HOME and TMPDIR.
            options: those of Popen.
        """
        own = {"PATH": os.environ["PATH"], "HOME": str(self.seen), "TMPDIR": str(self.seen / "tmp")}
        enter = ["nsenter", "--target", str(self.pid), "--all", "env", "--chdir", str(self.seen / inside)]
        return subprocess.Popen([*enter, *words], env={**own, **variables}, text=True, **options)

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Its processes with `words` in their command line."""
        found = []
        for process in psutil.process_iter():
            try:
                here = Path(f"/proc/{process.pid}/ns/pid").readlink() == Path(f"/proc/{self.pid}/ns/pid").readlink()
                if here and words in " ".join(process.cmdline()):
                    found.append(process)
            except (OSError, psutil.Error):  # has just ended
                continue
        return found

    def kill(self, words: str) -> None:
        """Sends SIGKILL to its processes with `words` in their command line; there must be one."""
        found = self.processes(words)
        assert found, f"{self.name} has no process {words}"
        for process in found:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(found, timeout=10)

    def clear(self) -> None:
        """Ends whatever runs on it."""
        for process in self.processes():
            if process.pid != self.pid:
                process.kill()

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Context manager in which its link is down: what it sends, and what is sent to it, is lost."""
        self._link("down")
        try:
            yield
        finally:
            self._link("up")

    def _link(self, state: str) -> None:
        inside = ["nsenter", "--target", str(self.pid), "--net"]
        subprocess.run([*inside, "ip", "link", "set", "eth0", state], check=True)


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """Context manager that yields machines with these names, which reach each other over a bridge and nothing else.

    Raises:
        Impossible: if they can't be made here.
    """
    require()
    # Not in pytest's own folder or TMPDIR: the names of Ray's sockets, 60 characters, must fit 107 with its own.
    with tempfile.TemporaryDirectory(prefix="scn-", dir="/tmp") as folder, ExitStack() as stack:
        root, addresses = Path(folder), {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        seen = root / "own"
        seen.mkdir()
        bridge = stack.enter_context(_held([], BRIDGE))
        machines = {}
        for name, address in addresses.items():
            own = root / name
            (own / "tmp").mkdir(parents=True)
            hosts = root / f"{name}.hosts"
            known = {
                "localhost": "127.0.0.1",
                **addresses,
                name: "127.0.1.1",
            }  # its own name as Debian's installer does
            hosts.write_text("".join(f"{address} {known_name}\n" for known_name, address in known.items()))
            pid = stack.enter_context(_held(OWN, BOOT, name, str(own), str(seen), str(hosts)))
            veth = f"ip link add name {name} type veth peer name eth0 netns {pid}; ip link set {name} master bridge up"
            _run(bridge, veth)
            inside = f"ip link set lo up; ip address add {address}/24 dev eth0; ip link set eth0 up"
            _run(pid, inside)
            machines[name] = Machine(name, address, own, seen, pid)
        first, *others = machines.values()
        for other in others:
            _run(first.pid, f"(: < /dev/tcp/{other.address}/9) 2>&1 | grep -q refused")  # so it is there, and answers
        yield machines


def _run(pid: int, script: str) -> None:
    inside = ["nsenter", "--target", str(pid), "--net", "timeout", "60", "bash", "-ec", script]
    ran = subprocess.run(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode:
        raise Impossible(f"no network can be made here ({' '.join(ran.stdout.split()) or script})")


@contextmanager
def _held(namespaces: Sequence[str], boot: str, *arguments: str) -> Iterator[int]:
    """Context manager that holds namespaces and yields the process id of the first process in them."""
    command = [*HOLD, *namespaces, "--", "bash", "-ec", f"{boot} {STAY}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as holder:
        try:
            assert holder.stdout
            if (said := holder.stdout.readline().strip()) != "ready":
                raise Impossible(f"no namespaces can be made here ({said})")
            yield psutil.Process(holder.pid).children()[0].pid
        finally:
            holder.kill()
