"""The S3 service of the tests, on a machine of its own: its mood, and what it has answered."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from commands import Command
from machines import Machine

from benchmarks import unsteady_s3
from benchmarks.unsteady_s3 import STEADY, set_mood

PORT = 9000
BUCKET = "bucket"
MAKE_BUCKET = f"import boto3; boto3.session.Session().client('s3').create_bucket(Bucket='{BUCKET}')"


class Request(NamedTuple):
    """A request that the service has answered."""

    time: float
    """Seconds since the epoch."""
    status: int
    method: str
    path: str


class S3:
    """An S3 service on a machine, which `serving` starts."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.mood = machine, dict(STEADY)
        self.variables = {
            "AWS_ENDPOINT_URL": f"http://{machine.address}:{PORT}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def set_mood(self, **mood: Any) -> None:
        """Refuses a share of the requests (refused: 0..1), or holds some up (held: "PUT /bucket/shards/").

        What is not named stays as it is.
        """
        self.mood = {**self.mood, **mood}
        set_mood(self.machine.folder, self.mood)

    def answered(self, method: str = "", words: str = "") -> list[Request]:
        """The requests with this method (empty: any) and `words` in their path that it has answered since its start."""
        lines = [line.split(" ", 3) for line in (self.machine.folder / "requests").read_text().splitlines()]
        every = (Request(float(at), int(status), done, path) for at, status, done, path in lines)
        return [request for request in every if request.method.startswith(method) and words in request.path]


@contextmanager
def serving(machine: Machine, variables: Mapping[str, str]) -> Iterator[S3]:
    """Context manager that runs the service, with an empty bucket, on a machine."""
    service = S3(machine)
    service.set_mood(**STEADY)
    server: list[str | Path] = [sys.executable, unsteady_s3.__file__, str(PORT), machine.seen]
    with Command(machine, server, variables) as running:
        until = ["bash", "-c", 'until "$0" -c "$1"; do sleep 0.5; done', sys.executable, MAKE_BUCKET]
        with Command(machine, until, {**variables, **service.variables}) as made:
            made.end()
        assert running.running, running.printed
        yield service
