"""Progress is shown in a terminal that reports 0 columns, too."""

import fcntl
import os
import pty
import select
import struct
import termios
from pathlib import Path

import pytest
from tqdm import tqdm

from scn.core import terminal


@pytest.mark.parametrize(("lines", "columns", "shown"), [(0, 0, 80), (24, 0, 80), (0, 70, 70), (24, 60, 60)])
def test_a_bar_is_as_wide_as_the_terminal_says_or_as_usual(
    lines: int, columns: int, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        with os.fdopen(theirs, "w") as shows:
            monkeypatch.setattr("sys.stderr", shows)
            with tqdm(total=4, desc="bar", disable=None, **terminal.size()) as bar:
                bar.update(2)
                bar.refresh()
                assert select.select([ours], [], [], 5)[0], "nothing was drawn"
                drawn = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
    assert len(drawn.split("\r")[-1]) in (shown - 1, shown)


def test_what_is_no_terminal_has_no_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr("sys.stderr", log)
        assert terminal.size() == {}
    monkeypatch.setattr("sys.stderr", None)
    assert terminal.size() == {}
