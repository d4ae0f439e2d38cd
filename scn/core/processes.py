"""Background processes that outlive the command which starts them, and that a later command finds again."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

_TERM_SECONDS = 20.0
_SAME_START = 1.0
"""Seconds by which two readings of one process's start time may differ, where the system derives it from the clock."""


class Service:
    """A background process: the file NAME.pid holds its id and what tells it from others, NAME.log what it prints."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"

    def start(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        """Starts the process in a session of its own, so that neither Ctrl-C nor the end of the terminal ends it."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._pid_file.write_text(f"{process.pid} {_identity(process.pid)}\n")
        except BaseException:
            process.kill()  # nobody would find it again
            process.wait()
            raise
        process.returncode = 0  # otherwise Python would warn that it still runs

    def runs(self) -> bool:
        """True if the process that `start` started is alive; another process with its id does not count."""
        return self._find() is not None

    def command(self) -> list[str]:
        """The words of its command line; none if it does not run."""
        process = self._find()
        return process.cmdline() if process else []

    def end(self) -> bool:
        """Ends the process and all that it has started; returns False if it did not run.

        Its children are asked to end before the process is: a worker that ends first kills its flow runs, which then
        can't tell the server that they have ended. Processes that are left after some seconds are killed.
        """
        process = self._find()
        if process is not None:
            family = [process, *_children(process, recursive=True)]
            _ask(_children(process))
            family += _children(process, recursive=True)  # those started meanwhile
            _ask([process])
            for left in family:
                with suppress(psutil.NoSuchProcess):
                    left.kill()  # psutil checks first that the id still means this process
            _wait(family)
        self._pid_file.unlink(missing_ok=True)
        return process is not None

    def _find(self) -> psutil.Process | None:
        try:
            pid, identity = self._pid_file.read_text().strip().split(maxsplit=1)
            process = psutil.Process(int(pid))
            if " " in identity:
                same = identity == _identity(process.pid)
            else:
                same = abs(process.create_time() - float(identity)) < _SAME_START
            return process if same and _alive(process) else None
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None


def kernel() -> str:
    """Names the running kernel and the process namespace, in which alone an id means something; "" if not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux, or hidden
        return ""


def started(pid: int) -> str:
    """Ticks of the kernel's clock, which nobody sets, when the process `pid` was started.

    "" if there is none, or it is hidden; "ended" of one that has ended but still has an id.
    """
    try:
        state, *about = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return ""
    return "ended" if state in "ZX" else about[18]


def _identity(pid: int) -> str:
    """What tells a process from a later one of the same id: several words, or one where the system has but a time."""
    where = kernel()
    return f"{started(pid)} {where}" if where else f"{psutil.Process(pid).create_time():.2f}"


def _alive(process: psutil.Process) -> bool:
    """True if the process runs; False for a zombie, too, which has ended but still has an id."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ask(processes: list[psutil.Process]) -> None:
    """Asks processes to end, and waits until they have, or for some seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _wait(processes)


def _wait(processes: list[psutil.Process]) -> None:
    """Waits until none of the processes is alive, or for some seconds."""
    deadline = time.monotonic() + _TERM_SECONDS
    while any(map(_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        found: list[psutil.Process] = process.children(recursive=recursive)
        return found
    return []
