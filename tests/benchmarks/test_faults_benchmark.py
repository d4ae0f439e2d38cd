"""The parts of benchmarks.faults that decide what counts as survived, mended or lost; no pipeline is run."""

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.faults.damage import WAYS
from benchmarks.faults.event import LOST, MENDED, SURVIVED, Event, counts
from benchmarks.faults.kills import Timeline
from benchmarks.faults.project import WITHOUT_RAY, Project, last_sentence
from benchmarks.faults.running import Running
from benchmarks.faults.surroundings import disk, fill
from benchmarks.workspace import ROOT


def event(fault: str, outcome: str) -> Event:
    return Event(part="kills", fault=fault, stage="train", outcome=outcome)


def test_events_are_counted_by_fault_and_together() -> None:
    one, two, every = counts([event("a", SURVIVED), event("b", LOST), event("a", MENDED)])
    assert one == {"part": "kills", "fault": "a", "times": 2, "survived": 1, "mended": 1, "lost": 0}
    assert (two["fault"], two["lost"]) == ("b", 1)
    assert (every["part"], every["times"], every["survived"], every["mended"], every["lost"]) == ("all", 3, 1, 1, 1)


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
    started.kill(family)
    assert started.end() == -9
    assert not any(process.is_running() for process in family)


def test_a_command_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    started = running(tmp_path, "print('told'); raise SystemExit(3)")
    assert not started.wait_for("never")
    assert (started.end(), started.printed) == (3, "told")
    assert started.family() == []


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
