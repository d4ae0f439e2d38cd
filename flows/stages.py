"""Asks DVC for the stages of its DAG and their order, and runs one of them."""

import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from graphlib import TopologicalSorter
from pathlib import Path

from flows.environment import stage_environment
from scn.core.errors import UserError
from scn.core.masking import masked

TAIL = 20
"""Number of last lines of a stage's output that are shown again when it has failed."""

DVC = [sys.executable, "-m", "dvc"]
"""The command line of DVC."""
_GUARD = [sys.executable, str(Path(__file__).with_name("guard.py"))]
_TERM_SECONDS = 10.0
_WAKE_SECONDS = 0.5


class StageFailed(Exception):  # noqa: N818 - what happened, not what is wrong with the flow
    """A stage ended with an error; the message is one sentence with the stage and its last line of output.

    The last lines of output are in `tail`, the stage's name in `stage`.
    """

    def __init__(self, stage: str, status: int, tail: list[str]) -> None:
        # DVC's own last line only repeats the command; what the command said before it is the reason.
        words = [line for line in tail if line.strip() and not line.startswith("ERROR: failed to reproduce")]
        reason = words[-1].strip() if words else f"it ended with status {status} and no message"
        super().__init__(f"Stage {stage} failed: {reason}")
        self.stage, self.tail = stage, tail


def alone(place: Path, stage: str, command: list[str] | None = None) -> str:
    """The command line that runs one stage, or a command, by hand in the workspace `place`, as the flow does."""
    words = command or ["dvc", "repro", "--single-item", stage]
    return f"cd {shlex.quote(str(place))} && PYTHONPATH=$PWD {shlex.join(words)}"


def stages_of(workspace: Path, target: str) -> list[str]:
    """The stages that `target` needs, itself included, each after all that it depends on.

    Args:
        workspace: a clone of the project.
        target: a stage, such as publish@sr-x2.
    Raises:
        UserError: if DVC can't read its pipeline or has no such target.
    """
    command = [*DVC, "dag", "--dot", target]
    done = subprocess.run(command, cwd=workspace, env=stage_environment(workspace), capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[0].removeprefix("ERROR: ")
        raise UserError(f"DVC can't tell the stages of {target} ({reason}): correct dvc.yaml and commit it.")
    return topological_order(done.stdout)


def topological_order(dot: str) -> list[str]:
    """The nodes of a graph in DVC's dot format, each after all nodes that point to it."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for before, after in re.findall(r'^\s*"([^"]+)"(?:\s*->\s*"([^"]+)")?;', dot, re.MULTILINE):
        if after:
            sorter.add(after, before)
        else:
            sorter.add(before)
    return list(sorter.static_order())


def run_stage(
    workspace: Path, stage: str, line_written: Callable[[str], None], going_on: Callable[[], None] = lambda: None
) -> None:
    """Runs one stage with `dvc repro`, without the stages that it depends on.

    Args:
        workspace: a clone of the project.
        line_written: is called with every line of the stage's output.
        going_on: is called again and again while it is at work; what it raises ends the stage.
    Raises:
        StageFailed: if the stage ends with an error.
    """
    run_command(workspace, stage, [*DVC, "repro", "--single-item", stage], line_written, going_on)


def run_command(
    workspace: Path,
    name: str,
    command: list[str],
    line_written: Callable[[str], None],
    going_on: Callable[[], None] = lambda: None,
) -> None:
    """Runs a command in a workspace; what it prints is handed on without secrets.

    If an exception ends the call (a timeout, a cancelled flow run), the command's processes are ended first; if this
    process is killed, they end, too (flows.guard).

    Args:
        workspace: a clone of the project.
        name: what the command is called in messages.
        line_written: is called with every line of the command's output.
        going_on: is called before the command starts, and again and again while it is at work; what it raises ends it.
    Raises:
        StageFailed: if the command ends with an error.
    """
    going_on()
    tail: deque[str] = deque(maxlen=TAIL)
    with subprocess.Popen(
        [*_GUARD, *command],
        cwd=workspace,
        env=stage_environment(workspace),
        stdin=subprocess.PIPE,  # never written to: it closes when this process ends, however that is
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,  # so that the stage's processes can be ended together
    ) as process:
        try:
            for line in _lines(process, going_on):
                if line.strip():
                    tail.append(masked(line.rstrip()))
                    line_written(tail[-1])
            process.wait()
        except BaseException:
            _end_group(process)
            raise
    if process.returncode:
        raise StageFailed(name, process.returncode, list(tail))


def _lines(process: subprocess.Popen[str], going_on: Callable[[], None]) -> Iterator[str]:
    """The lines that `process` writes, which another thread reads, so that a silent one can be ended, too."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        going_on()
        with suppress(queue.Empty):
            line = lines.get(timeout=_WAKE_SECONDS)
            if line is None:
                return
            yield line


def _end_group(process: subprocess.Popen[str]) -> None:
    """Ends the processes that are left of the group of `process`: asks them first, then kills them."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TERM_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
