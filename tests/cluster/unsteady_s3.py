"""An S3 service (moto) whose answers a file makes late, or refuses at random: `python unsteady_s3.py PORT FOLDER`.

FOLDER/mood.json   {"late_s": seconds before each answer, "refused": share of the requests that get 503}
FOLDER/requests    a line for every answer: time, status, method, path
"""

import json
import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

REFUSAL = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
Answer = Iterable[bytes]


class Unsteady:
    """The WSGI application `app`, in the mood that the file in `folder` describes."""

    def __init__(self, app: Callable[..., Answer], folder: Path) -> None:
        self.app, self.folder, self.random = app, folder, random.Random(0)
        self.requests = (folder / "requests").open("a", buffering=1)

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Answer:
        mood = json.loads((self.folder / "mood.json").read_text())
        time.sleep(mood["late_s"])

        def note(status: str, *rest: Any) -> Any:
            about = environment["REQUEST_METHOD"], environment["PATH_INFO"]
            self.requests.write(" ".join([f"{time.time():.3f}", status.split()[0], *about]) + "\n")
            return start(status, *rest)

        if self.random.random() >= mood["refused"]:
            return self.app(environment, note)
        note("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(REFUSAL)))])
        return [REFUSAL]


if __name__ == "__main__":
    moto = Unsteady(DomainDispatcherApplication(create_backend_app), Path(sys.argv[2]))
    run_simple("0.0.0.0", int(sys.argv[1]), moto, threaded=True, request_handler=MotoRequestHandler)
