"""An S3 service that refuses, resets, cuts, is late or goes away, during each stage that uses it."""

import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import boto3

from benchmarks.faults.event import NOTHING, Event, outcome_of
from benchmarks.faults.project import RESULTS, Project, full_name, last_sentence
from benchmarks.faults.running import LIMIT_S, Running
from benchmarks.s3_service import s3_service
from benchmarks.unsteady_s3 import set_mood

PART = "s3"
BUCKET = "bucket"
DISTURBED = ("shard", "train", "evaluate", "publish")
"""Stages during which the service is disturbed."""
MOODS: Mapping[str, dict[str, float]] = {
    "answers a fifth with 503": {"refused": 0.2},
    "resets a fifth of the connections": {"reset": 0.2},
    "sends half of a fifth of the bodies": {"cut": 0.2},
    "answers 0.5 s later": {"late_s": 0.5},
    "is away for 30 s": {"away_s": 30.0},
}
STEADY: Mapping[str, dict[str, float]] = {"does what it should": {}}


def unsteady(folder: Path, only: Sequence[str] | None = None) -> Iterator[Event]:
    """Runs the pipeline once for each mood, or those that `only` names, in which the service is during four stages."""
    with (
        tempfile.TemporaryDirectory(prefix="scn-s3-") as temporary,
        s3_service(Path(temporary)) as variables,
        patch.dict(os.environ, variables),  # what was made is looked at from here, too
    ):
        service = Service(Path(temporary), variables["AWS_ENDPOINT_URL"])
        boto3.session.Session().client("s3").create_bucket(Bucket=BUCKET)
        project = Project(folder, variables)
        asked: dict[str, int] = {}
        expected: dict[str, str | bytes] = {}
        moods = {fault: mood for fault, mood in MOODS.items() if not only or f"S3 {fault}" in only}
        for number, (fault, mood) in enumerate({**STEADY, **moods}.items()):
            project.make(f"s3://{BUCKET}/{number}", ray=False)
            for event in _pipeline(project, service, fault, mood, asked, expected):
                if fault not in STEADY:
                    yield event
                elif event.outcome != NOTHING:
                    raise RuntimeError(f"The undisturbed run on S3 failed: {event}")
            expected = expected or project.results()


class Service:
    """The service's mood, and how much it was asked."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url

    def set(self, mood: dict[str, float]) -> None:
        """What it does from now on."""
        set_mood(self._folder, mood)

    def wait(self) -> None:
        """Waits until it listens again."""
        host, port = self._url.rpartition("/")[2].split(":")
        while True:
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
                return
            time.sleep(0.2)

    def asked(self) -> int:
        """How many requests it has had."""
        return self._lines("requests")

    def dealt(self) -> int:
        """How many of them its moods have met."""
        return self._lines("dealt")

    def _lines(self, name: str) -> int:
        return len((self._folder / name).read_text().splitlines())


def _pipeline(
    project: Project,
    service: Service,
    fault: str,
    mood: dict[str, float],
    asked: dict[str, int],
    expected: Mapping[str, str | bytes],
) -> Iterator[Event]:
    """One run, stage by stage. `asked` gets the requests of each stage when the service is undisturbed."""
    project.here.run("dvc", "repro", full_name("plan"))
    for stage in ("shard", "train", "evaluate", "ensemble", "publish"):
        command = ("dvc", "repro", "--single-item", full_name(stage))
        if stage not in DISTURBED:
            project.here.run(*command)
            continue
        before, dealt_before = service.asked(), service.dealt()
        # In the middle of what the stage asks for: at its start it ends on purpose where no service answers.
        service.set({**mood, "away_after": float(math.ceil(asked.get(stage, 0) / 2))})
        running = Running(project, command)
        status = running.end()
        service.set({})
        service.wait()
        count, dealt = service.asked() - before, service.dealt() - dealt_before
        asked.setdefault(stage, count)
        told = last_sentence(running.printed) if status else ""
        wrong = [f"hung for {LIMIT_S:g} s"] if status is None else []
        if status and (again := project.here.run(*command, check=False)).returncode:
            wrong.append(f"the re-run failed: {last_sentence(again.stdout + again.stderr)}")
        found = project.results()
        wrong += [f"{name} differs" for name in RESULTS if expected and found[name] and found[name] != expected[name]]
        if stage == "publish" and expected:
            wrong += project.faults(expected)
        note = "; ".join([f"{count} requests, {dealt} disturbed", *wrong])
        yield Event(
            part=PART,
            fault=f"S3 {fault}",
            stage=stage,
            outcome=outcome_of(wrong, status, dealt > 0),
            told=told,
            note=note,
        )
