"""The parts of benchmarks.faults that decide what counts as survived, mended or lost; no pipeline is run."""

import argparse
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.faults import __main__ as faults
from benchmarks.faults.damage import WAYS, Damage, _damage
from benchmarks.faults.event import LOST, MENDED, NOTHING, SURVIVED, Event, counts, outcome_of
from benchmarks.faults.kills import Timeline, _kill
from benchmarks.faults.project import WITHOUT_RAY, Project, last_sentence
from benchmarks.faults.running import Running
from benchmarks.faults.surroundings import disk, fill
from benchmarks.unsteady_s3 import Unsteady, set_mood
from benchmarks.workspace import ROOT


def event(fault: str, outcome: str) -> Event:
    return Event(part="kills", fault=fault, stage="train", outcome=outcome)


def test_events_are_counted_by_fault_and_together() -> None:
    one, two, every = counts([event("a", SURVIVED), event("b", LOST), event("a", MENDED)])
    assert one == {"part": "kills", "fault": "a", "times": 2, "survived": 1, "mended": 1, "lost": 0}
    assert (two["fault"], two["lost"]) == ("b", 1)
    assert (every["part"], every["times"], every["survived"], every["mended"], every["lost"]) == ("all", 3, 1, 1, 1)


def test_what_met_no_fault_is_not_survived() -> None:
    assert outcome_of([], 0, dealt=True) == SURVIVED
    assert outcome_of([], 0, dealt=False) == NOTHING
    assert outcome_of([], 1, dealt=False) == MENDED  # it was told, so something happened
    assert outcome_of(["it hung"], 0, dealt=False) == LOST
    one, every = counts([event("a", SURVIVED), event("a", NOTHING)])
    assert (one["times"], one["survived"], every["times"], every["survived"]) == (1, 1, 1, 1)


def test_rows_that_are_measured_again_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(name: str) -> Callable[..., Iterator[Event]]:
        def made(folder: Path, options: argparse.Namespace) -> Iterator[Event]:
            chosen = options.fault if name == "damage" else None
            for fault in chosen or ("one", "two"):
                yield Event(part=name, fault=fault, stage="train", outcome=SURVIVED)

        return made

    monkeypatch.setattr(faults, "PARTS", {name: part(name) for name in ("kills", "damage")})
    monkeypatch.setattr(faults, "machine", lambda: {"cpu": "new"})
    file = tmp_path / "events.json"
    every = [(name, fault) for name in ("kills", "damage") for fault in ("one", "two")]
    faults.main(["--json", str(file)])
    old = json.loads(file.read_text())
    for row in old["rows"]:
        assert row.pop("machine") == {"cpu": "new"}
        assert row.pop("date") == old["date"]
    file.write_text(json.dumps(old | {"date": "2026-01-02", "machine": {"cpu": "old"}}))  # as it was written before

    faults.main(["--json", str(file), "--fault", "two"])
    rows = json.loads(file.read_text())["rows"]
    assert sorted((row["part"], row["fault"]) for row in rows) == sorted(every)
    kept = [row for row in rows if (row["part"], row["fault"]) == ("damage", "one")]
    assert [(row["date"], row["machine"]) for row in kept] == [("2026-01-02", {"cpu": "old"})]
    assert all(row["machine"] == {"cpu": "new"} for row in rows if row not in kept)


@pytest.mark.parametrize(
    ("moment", "expected"), [(0.5, ("", 0.5)), (1.0, ("plan", 0.0)), (3.5, ("train", 1.5)), (9.0, ("train", 7.0))]
)
def test_a_moment_is_in_the_stage_that_ran_then(moment: float, expected: tuple[str, float]) -> None:
    assert Timeline({"plan": 1.0, "train": 2.0}, 10.0).stage_at(moment) == expected


def test_every_way_of_damage_changes_the_bytes() -> None:
    whole = bytes(range(10))
    assert {way: change(whole) for way, change in WAYS.items()} == {
        "a byte flipped": whole[:5] + bytes([250]) + whole[6:],
        "cut in half": whole[:5],
        "emptied": b"",
    }


def test_the_last_sentence_is_the_command_s_own() -> None:
    printed = "Running stage\nscn: no.yaml does not exist: run this in a project.\nERROR: failed to reproduce 'x'\n\n"
    assert last_sentence(printed) == "scn: no.yaml does not exist: run this in a project."
    assert last_sentence("") == ""


def test_the_stages_without_ray_are_still_those_of_dvc_yaml() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert all(text.count(old) == 1 for old in WITHOUT_RAY)


def running(folder: Path, program: str) -> Running:
    project = Project(folder)
    project.root.mkdir()
    return Running(project, [sys.executable, "-c", program])


def test_a_command_is_killed_with_its_children(tmp_path: Path) -> None:
    child = "import time; print('ready', flush=True); time.sleep(600)"
    started = running(tmp_path, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    assert started.wait_for("ready")
    family = started.family()
    assert len(family) == 2
    assert started.kill(family) == family
    assert started.end() == -9
    assert psutil.wait_procs(family, timeout=60)[1] == []  # the child's end is noted a little later


def test_a_command_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    started = running(tmp_path, "print('told'); raise SystemExit(3)")
    assert not started.wait_for("never")
    assert (started.end(), started.printed) == (3, "told")
    assert started.family() == []


def test_a_command_that_has_ended_is_not_killed(tmp_path: Path) -> None:
    started = running(tmp_path, "print('told')")
    family = started.family()
    assert len(family) == 1
    while family[0].status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert started.kill(family) == []
    assert started.end() == 0


@pytest.mark.parametrize("everyone", [True, False])
def test_a_kill_that_meets_nobody_is_no_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everyone: bool) -> None:
    project = Project(tmp_path)
    project.root.mkdir()
    ends = [sys.executable, "-c", "print('done')"]
    monkeypatch.setattr("benchmarks.faults.kills.Running", lambda project: Running(project, ends))
    monkeypatch.setattr(project, "faults", lambda results: [])
    monkeypatch.setattr(project.here, "run", lambda *words: subprocess.CompletedProcess(words, 0, "", ""))
    found = _kill(project, {}, "kill -9", "", 2.0, everyone, random.Random(0))
    assert (found.outcome, found.note) == (NOTHING, "2.00 s after its begin: nobody: it had ended")


@pytest.mark.parametrize(("content", "outcome"), [(b"content", SURVIVED), (b"", NOTHING)])
def test_damage_that_changes_nothing_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, outcome: str
) -> None:
    project = Project(tmp_path)
    project.root.mkdir()
    (project.root / "file").write_bytes(content)
    monkeypatch.setattr(project, "restore", lambda name: None)
    monkeypatch.setattr(project, "faults", lambda results: [])
    runs = [sys.executable, "-c", ""]
    monkeypatch.setattr("benchmarks.faults.damage.Running", lambda project, command=runs: Running(project, command))
    each = Damage(what="file", files="file", command=runs)
    assert _damage(project, {}, each, "emptied", WAYS["emptied"], stopped=True).outcome == outcome
    (project.root / "file").write_bytes(content)
    assert _damage(project, {}, each, "emptied", WAYS["emptied"], stopped=False).outcome == NOTHING


def test_a_service_tells_which_requests_its_mood_has_met(tmp_path: Path) -> None:
    def moto(environment: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [])
        return [b"body" * (environment["REQUEST_METHOD"] == "GET")]

    def ask(mood: dict[str, float], method: str = "GET") -> list[str]:
        before = len(dealt())
        set_mood(tmp_path, mood)
        app({"REQUEST_METHOD": method, "PATH_INFO": "/"}, lambda *answer: None)
        return dealt()[before:]

    def dealt() -> list[str]:
        return [line.split()[1] for line in (tmp_path / "dealt").read_text().splitlines()]

    app = Unsteady(moto, tmp_path)
    assert ask({}) == []
    assert ask({"refused": 1.0}) == ["refused"]
    assert ask({"refused": 0.0, "late_s": 0.01}) == ["late"]
    assert ask({"cut": 1.0}) == ["cut"]
    assert ask({"cut": 1.0}, "PUT") == []  # nothing of its answer can be cut
    away = {"away_s": 30.0, "away_after": 1.0}
    assert ask(away) == []  # the last one before it leaves
    assert ask(away) == []  # it is away: one that was taken before
    app.away_s = 0.0  # the port listens again
    assert ask(away) == ["away"]
    assert ask(away) == []
    set_mood(tmp_path, {})
    assert (app.requests.close(), app.dealt.close()) == (None, None)


def test_a_service_holds_requests_up_but_for_the_first_until_its_mood_is_another(tmp_path: Path) -> None:
    def moto(environment: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        answered.append(f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}")
        start("200 OK", [])
        return []

    def ask(method: str, path: str) -> threading.Thread:
        request = {"REQUEST_METHOD": method, "PATH_INFO": path}
        asking = threading.Thread(target=app, args=(request, lambda *answer: None), daemon=True)
        asking.start()
        return asking

    answered: list[str] = []
    app = Unsteady(moto, tmp_path)
    set_mood(tmp_path, {"held": "PUT /shards/"})
    others = [("PUT", "/shards/1"), ("GET", "/shards/1"), ("PUT", "/runs/1")]
    for method, path in others:
        ask(method, path).join(60)
    waiting = [ask("PUT", "/shards/2"), ask("PUT", "/shards/3")]
    while len((tmp_path / "dealt").read_text().splitlines()) < 2:
        time.sleep(0.01)
    assert answered == [" ".join(other) for other in others]
    set_mood(tmp_path, {})
    for thread in waiting:
        thread.join(60)
    assert sorted(answered[3:]) == ["PUT /shards/2", "PUT /shards/3"]
    assert (app.requests.close(), app.dealt.close()) == (None, None)


def test_the_service_ends_with_the_process_that_has_started_it(tmp_path: Path) -> None:
    starts = "from benchmarks.s3_service import s3_service\nwith s3_service(): print('ready', flush=True), input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", starts], cwd=ROOT, **pipes) as starter:
        assert starter.stdout.readline() == b"ready\n"
        (service,) = psutil.Process(starter.pid).children()
        starter.kill()
    assert psutil.wait_procs([service], timeout=60)[1] == []


@pytest.mark.parametrize("root", [True, False])
def test_a_full_disk_is_full_and_one_that_can_not_be_mounted_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    with disk(tmp_path / "disk", mib=2) as place:
        if not root:
            assert place is None
            return
        if place is None:
            pytest.skip("nothing can be mounted here")
        fill(place / "ballast", shutil.disk_usage(place).free - 8192)
        with pytest.raises(OSError, match="No space left"):
            (place / "file").write_bytes(b"x" * 100_000)
    assert not (tmp_path / "disk" / "ballast").exists()
