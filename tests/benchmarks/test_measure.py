"""The harness of the benchmarks: the calls that it makes, and the figures that it computes from times."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import s3_service
from benchmarks.measure import Timing, machine, medians, parser, table, write_json
from scn.core.errors import UserError


def test_candidates_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []
    timings = medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=3, warm_up=1)

    assert "".join(calls) == "abbaabba"
    assert list(timings) == ["a", "b"]
    assert all(len(timing.seconds) == 3 and min(timing.seconds) > 0 for timing in timings.values())
    with pytest.raises(ValueError, match="0 runs have no median"):
        medians({"a": lambda: None}, runs=0)


def test_what_comes_before_a_call_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 0.0, ""

    def pass_by(seconds: float, what: str) -> None:
        nonlocal now, calls
        now, calls = now + seconds, calls + what

    monkeypatch.setattr("benchmarks.measure.perf_counter", lambda: now)
    candidates = {"a": lambda: pass_by(1, "a"), "b": lambda: pass_by(2, "b")}
    timings = medians(candidates, runs=2, warm_up=1, before=lambda: pass_by(100, "-"))
    assert calls == "-a-b-b-a-a-b"
    assert {name: timing.seconds for name, timing in timings.items()} == {"a": (1, 1), "b": (2, 2)}


def test_median_spread_and_quotient() -> None:
    timing, other = Timing(seconds=(5.0, 1.0, 2.0, 3.0, 4.0)), Timing(seconds=(1.0, 1.0, 1.0, 1.0, 0.5))

    assert timing.median == 3.0
    assert timing.spread == pytest.approx((4 - 2) / 3)
    assert timing.over(other) == 3.0  # of 5, 1, 2, 3, 8
    assert Timing(seconds=(2.0,)).spread == 0.0


def test_a_table_is_markdown_and_has_every_value() -> None:
    rows = [{"candidate": "bare", "ms": 1.23456, "over": None}, {"candidate": "ours, exact", "ms": 20.0, "over": 16}]
    assert table(rows).splitlines() == [
        "| candidate   | ms   | over |",
        "| ----------- | ---- | ---- |",
        "| bare        | 1.23 | -    |",
        "| ours, exact | 20   | 16   |",
    ]


def test_json_says_what_was_measured_when_and_on_what(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", "how fast", iter([{"candidate": "a", "ms": 1.5}]))

    written = json.loads((tmp_path / "result.json").read_text())
    assert written["title"] == "how fast"
    assert written["rows"] == [{"candidate": "a", "ms": 1.5}]
    assert written["machine"] == machine()
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["pil"].split()[0] in ("pillow", "pillow-simd")
    with pytest.raises(UserError, match="can't be written"):
        write_json(tmp_path / "result.json" / "below-a-file.json", "how fast", [])


@pytest.mark.parametrize(
    ("program", "first", "words"),
    [
        ("evaluation", "write_images", ()),
        ("indexing", "write_corpus", ()),
        ("overlap", "time_rows", ("--only", "time")),
        ("precision", "load_params", ()),
        ("shards", "run", ()),
        ("shards", "write_project", ("--growth", "1")),
        ("training", "workers", ("--only", "workers")),
    ],
)
def test_no_cluster_is_measured_in_place_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, program: str, first: str, words: tuple[str, ...]
) -> None:
    class Begun(Exception):  # noqa: N818
        pass

    def begins(*_: object) -> None:
        raise Begun(os.environ.get("RAY_ADDRESS"))

    module = import_module(f"benchmarks.{program}")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setattr("sys.argv", [program, *words])
    monkeypatch.setattr(module, first, begins)
    with pytest.raises(Begun) as begun:
        module.main()
    assert begun.value.args == (None,)


def test_a_service_on_this_machine_is_not_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ends = iter([None, 1])  # the service has ended when it is looked at again
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        service: Any = SimpleNamespace(poll=lambda: next(ends))
        assert s3_service._answers(f"http://127.0.0.1:{server.server_port}/", service)
        server.shutdown()


def test_arguments_of_every_benchmark() -> None:
    assert parser("What it does.", runs=7).parse_args([]).runs == 7
    options = parser("What it does.", runs=7).parse_args(["--json", "a.json", "--runs", "2"])
    assert (options.json, options.runs) == (Path("a.json"), 2)
