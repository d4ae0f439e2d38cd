"""A download arrives whole and verified whatever the line and the server do, and asks for nothing twice."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_server import Server

from data_prep.fetch import ATTEMPTS, fetch, readable
from scn.core.errors import UserError
from scn.corpora.catalogue import Archive

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_lands_whole_and_nothing_else_stays(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT)
    target = tmp_path / "new/folder/a.zip"
    fetched = fetch(Archive(urls=[url], bytes=len(CONTENT), sha256=SHA256), target)
    assert (fetched.url, fetched.bytes, fetched.sha256) == (url, len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_what_is_here_and_right_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT)
    (tmp_path / "a.zip").write_bytes(CONTENT)
    fetch(Archive(urls=[url], sha256=SHA256), tmp_path / "a.zip")
    assert server.requests == []
    (tmp_path / "a.zip").write_bytes(b"something else")
    fetch(Archive(urls=[url], sha256=SHA256), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_connection_that_breaks_off_is_resumed(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT, cuts=deque([100_000, 50_000]))
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.sent == len(CONTENT)


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT, ranges=False, cuts=deque([100_000]))
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.sent == 100_000 + len(CONTENT)


def test_without_a_validator_or_a_checksum_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT, etag="", cuts=deque([100_000]))
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert [asked for _, asked in server.requests] == [None, None]
    server.requests.clear()
    server.files["/a.zip"].cuts.append(100_000)
    fetch(Archive(urls=[url], sha256=SHA256), tmp_path / "b.zip")
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-"]


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT, statuses=deque([503, 429, 500]), retry_after="0")
    fetch(Archive(urls=[url], sha256=SHA256), tmp_path / "a.zip")
    assert len(server.requests) == 4


def test_a_file_that_changed_between_two_parts_starts_over(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT)
    interrupted(url, tmp_path / "a.zip", server)
    new = CONTENT[::-1]
    server.put("/a.zip", new, etag='"second"')
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == new


OLD, NEW = "Mon, 02 Nov 2026 10:00:00 GMT", "Tue, 03 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"etag": '"second"'}),
        ({"modified": OLD}, {"etag": '"second"', "modified": OLD}),
        ({"etag": "", "modified": OLD}, {"etag": "", "modified": NEW}),
        ({"etag": 'W/"weak"', "modified": OLD}, {"etag": 'W/"weak"', "modified": NEW}),
        ({"modified": OLD}, {"etag": "", "modified": NEW}),
    ],
)
def test_a_server_that_does_not_heed_if_range_gives_no_mixture(
    server: Server, tmp_path: Path, before: dict[str, str], after: dict[str, str]
) -> None:
    url = server.put("/a.zip", CONTENT, **before)
    interrupted(url, tmp_path / "a.zip", server)
    new = CONTENT[::-1]  # of the same size
    server.put("/a.zip", new, if_range=False, **after)
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == new
    assert [asked for _, asked in server.requests] == ["bytes=100000-", None]


@pytest.mark.parametrize(
    "after",
    [{"modified": OLD}, {"modified": NEW}, {"etag": 'W/"first"', "modified": OLD}, {"etag": "", "modified": OLD}],
)
def test_what_does_not_tell_of_a_change_is_continued(server: Server, tmp_path: Path, after: dict[str, str]) -> None:
    url = server.put("/a.zip", CONTENT, modified=OLD)
    interrupted(url, tmp_path / "a.zip", server)
    server.put("/a.zip", CONTENT, if_range=False, **after)
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=100000-"]


class Sparing(io.FileIO):
    """Takes no more than 1,000 bytes at once, as a disk that is nearly full or a network file system may."""

    def write(self, data: Any) -> int:
        return super().write(memoryview(data)[:1000])


def test_every_byte_is_written_where_a_write_takes_a_part(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, opened = server.put("/a.zip", CONTENT), Path.open

    def sparing(path: Path, mode: str = "r", buffering: int = -1, **how: Any) -> Any:
        return Sparing(path, mode) if (mode, buffering) == ("ab", 0) else opened(path, mode, buffering, **how)

    monkeypatch.setattr(Path, "open", sparing)
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert len(server.requests) == 1


def interrupted(url: str, target: Path, server: Server) -> None:
    """Leaves 100,000 bytes of what is at `url`, as a process that was killed does."""
    server.files["/a.zip"].cuts = deque([100_000, *[0] * ATTEMPTS])
    with pytest.raises(UserError):
        fetch(Archive(urls=[url]), target)
    assert target.with_name("a.zip.part").stat().st_size == 100_000
    server.files["/a.zip"].cuts.clear()
    server.requests.clear()
    server.sent = 0


def test_another_mirror_continues_what_a_checksum_can_verify(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT)
    interrupted(url, tmp_path / "a.zip", server)
    other = server.put("/mirror/a.zip", CONTENT, etag='"of the mirror"')
    fetch(Archive(urls=[server.url("/gone"), other], sha256=SHA256), tmp_path / "a.zip")
    assert server.requests == [("/gone", "bytes=100000-"), ("/mirror/a.zip", "bytes=100000-")]
    assert server.sent == len(CONTENT) - 100_000


def test_a_wrong_part_is_thrown_away_once_the_checksum_tells(server: Server, tmp_path: Path) -> None:
    url = server.put("/a.zip", CONTENT)
    interrupted(url, tmp_path / "a.zip", server)
    (tmp_path / "a.zip.part").write_bytes(bytes(100_000))
    fetch(Archive(urls=[url], sha256=SHA256), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=100000-", None]


@pytest.mark.parametrize("left", [len(CONTENT), len(CONTENT) + 7])
def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path, left: int) -> None:
    url = server.put("/a.zip", CONTENT)
    interrupted(url, tmp_path / "a.zip", server)
    (tmp_path / "a.zip.part").write_bytes((CONTENT + bytes(7))[:left])
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.sent == (0 if left == len(CONTENT) else len(CONTENT))


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        ({"sha256": SHA256}, f"its SHA-256 is [0-9a-f]{{64}} instead of {SHA256}"),
        ({"md5": hashlib.md5(CONTENT).hexdigest()}, "its MD5 is [0-9a-f]{32} instead of"),
        ({"bytes": 300_001}, "it has 300000 bytes instead of 300001"),
    ],
)
def test_wrong_content_never_lands_and_the_next_mirror_is_tried(
    server: Server, tmp_path: Path, archive: dict[str, object], expected: str
) -> None:
    wrong = server.put("/wrong.zip", bytes(len(CONTENT)))
    right = server.put("/right.zip", CONTENT + b"!" * ("bytes" in archive))
    with pytest.raises(UserError, match=rf"a.zip can't be downloaded \({wrong}: {expected}.*\): try again later\.$"):
        fetch(Archive(urls=[wrong], **archive), tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []
    assert fetch(Archive(urls=[wrong, right], **archive), tmp_path / "a.zip").url == right


def test_every_mirror_that_failed_is_named_with_its_reason(server: Server, tmp_path: Path) -> None:
    urls = [server.url("/gone"), "http://127.0.0.1:9/refused", server.put("/busy", b"x", statuses=deque([503] * 9))]
    expected = r"gone: 404 Not Found; http://127.0.0.1:9/refused: Connection refused; .*busy: 503 Service Unavailable\)"
    with pytest.raises(UserError, match=expected) as error:
        fetch(Archive(urls=urls), tmp_path / "a.zip")
    assert "\n" not in str(error.value)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.put("/a.zip", CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 5 * 10**5, 599_999))
    with pytest.raises(
        UserError, match=r"a.zip needs about 600 kB in .*, and 600 kB are free: make room or set corpora"
    ):
        fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    assert (tmp_path / "a.zip.part").stat().st_size == 0


def test_a_log_gets_a_line_per_event(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = server.put("/a.zip", CONTENT, cuts=deque([100_000]))
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert capsys.readouterr().err.splitlines() == [
        f"a.zip: downloading 300 kB from {url}",
        f"a.zip: downloading 300 kB from {url}, 100 kB of it are here",
        "a.zip: 300 kB are here",
    ]


@pytest.mark.parametrize(
    ("size", "text"), [(7, "7 bytes"), (1_500, "1.5 kB"), (449_000_000, "449 MB"), (3_530_603_713, "3.5 GB")]
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert readable(size) == text


def test_a_process_that_was_killed_leaves_what_the_next_one_continues(server: Server, tmp_path: Path) -> None:
    goes_on = threading.Event()
    url = server.put("/a.zip", CONTENT, goes_on=goes_on)
    program = (
        "import sys; from pathlib import Path; from data_prep.fetch import fetch\n"
        "from scn.corpora.catalogue import Archive\n"
        "fetch(Archive(urls=[sys.argv[1]]), Path(sys.argv[2]))\n"
    )
    part = tmp_path / "a.zip.part"
    with subprocess.Popen([sys.executable, "-c", program, url, str(tmp_path / "a.zip")], stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 300
        while not (part.exists() and part.stat().st_size > 100_000):
            assert run.poll() is None, run.stderr and run.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert not (tmp_path / "a.zip").exists()
    left = part.stat().st_size
    assert 100_000 < left < len(CONTENT)

    goes_on.set()
    server.requests.clear()
    fetch(Archive(urls=[url]), tmp_path / "a.zip")
    assert server.requests == [("/a.zip", f"bytes={left}-")]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
