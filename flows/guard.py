"""Runs a command that ends with the process that started this one, even if that was killed.

    python guard.py COMMAND ...

A stage that outlived its flow run would hold the training's lease, and the run that is started again could not go on.
The parent holds the other end of standard input and never writes to it, so that it closes when the parent ends.
"""

import os
import signal
import subprocess
import sys
import threading
import time

_TERM_SECONDS = 10.0


def _end_with_parent(alone: threading.Event) -> None:
    os.read(0, 1)  # until the parent closes it or is gone; a file object of Python's would be locked at the end
    alone.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(_TERM_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Runs the command and returns its exit status; it is to be the leader of its group of processes."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # who asks the group to end asks the command, too
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    alone = threading.Event()
    watching = threading.Thread(target=_end_with_parent, args=(alone,), daemon=True)
    watching.start()
    status = process.wait()
    if alone.is_set():  # what the command has started may take longer than itself
        watching.join()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
