"""An S3 service (moto) in a mood that a file describes: `python unsteady_s3.py PORT FOLDER [HOST]`.

It ends with the process that has started it, however that ends.

FOLDER/mood.json   late_s: seconds before each answer; shares of the requests, chosen at random: refused (503), reset
                   (the connection is; half of these requests are carried out before), cut (half of the body comes);
                   away_after, away_s: after so many requests nothing listens at the port for so many seconds, once;
                   held: requests whose method and path begin so wait, but for the first of them, until the mood is
                   another ("PUT /bucket/shards/"; empty: none)
FOLDER/requests    a line for every answer: time, status, method, path; 0 in place of the status where none came
FOLDER/dealt       a line for every request that the mood met: time, what was done to it; `away` for the first one that
                   comes when the port listens again
"""

import io
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

REFUSAL = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
Mood = dict[str, Any]
STEADY: Mood = {"late_s": 0.0, "refused": 0.0, "reset": 0.0, "cut": 0.0, "away_after": 0.0, "away_s": 0.0, "held": ""}
"""The mood of a service that does what it should."""
NO_ANSWER = "0"
Answer = Iterable[bytes]


def set_mood(folder: Path, mood: Mood) -> None:
    """Tells the service whose folder this is what to do from now on; what is not named is as it should be."""
    path = folder / "mood.json"
    path.with_suffix(".new").write_text(json.dumps({**STEADY, **mood}))
    path.with_suffix(".new").replace(path)


class Atomic:
    """The WSGI application `app`, whose conditional writes come one after the other.

    moto looks whether a condition holds and then writes, without a lock between: two of its threads may both win, which
    no service does that is fit for publishing.
    """

    def __init__(self, app: Callable[..., Answer]) -> None:
        self.app, self._lock = app, threading.Lock()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Answer:
        if not {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environment.keys():
            return self.app(environment, start)
        body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        environment["wsgi.input"] = io.BytesIO(body)  # read before: a client that stalls holds nobody up
        with self._lock:
            return list(self.app(environment, start))


class Unsteady:
    """The WSGI application `app`, in the mood that the file in `folder` describes."""

    def __init__(self, app: Callable[..., Answer], folder: Path) -> None:
        self.app, self.folder, self.random = app, folder, random.Random(0)
        self.requests = (folder / "requests").open("a", buffering=1)
        self.dealt = (folder / "dealt").open("a", buffering=1)
        self.away_s = 0.0
        """Seconds for which the port is to be closed; the server sets it back."""
        self._count, self._seen, self._left = 0, STEADY, False
        self._begun, self._lock = "", threading.Lock()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Answer:
        self._wait(f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}")
        mood = self._mood()
        self._leave(mood)
        if mood["late_s"]:
            self._deal("late")
            time.sleep(mood["late_s"])
        fate = self.random.random()

        def note(status: str, *rest: Any) -> Any:
            self._note(status.split()[0], environment)
            return start(status, *rest)

        for kind in ("refused", "reset", "cut"):
            if fate < mood[kind]:
                return getattr(self, f"_{kind}")(environment, note)
            fate -= mood[kind]
        return self.app(environment, note)

    def _mood(self) -> Mood:
        mood: Mood = json.loads((self.folder / "mood.json").read_text())
        return mood

    def _wait(self, request: str) -> None:
        held = self._mood()["held"]
        if not held or not request.startswith(held):
            return
        with self._lock:
            first, self._begun = self._begun != held, held
        if not first:
            self._deal("held")
            while self._mood()["held"] == held:
                time.sleep(0.05)

    def _leave(self, mood: Mood) -> None:
        self._count = self._count + 1 if mood == self._seen else 1
        self._seen = mood
        if self._left and not self.away_s:
            self._left = False
            if mood["away_s"]:  # otherwise whoever was to be disturbed had ended before
                self._deal("away")
        if mood["away_s"] and self._count == mood["away_after"]:
            self.away_s, self._left = mood["away_s"], True

    def _note(self, status: str, environment: dict[str, Any]) -> None:
        about = environment["REQUEST_METHOD"], environment["PATH_INFO"]
        self.requests.write(" ".join([f"{time.time():.3f}", status, *about]) + "\n")

    def _deal(self, what: str) -> None:
        self.dealt.write(f"{time.time():.3f} {what}\n")

    def _refused(self, environment: dict[str, Any], note: Callable[..., Any]) -> Answer:
        self._deal("refused")
        note("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(REFUSAL)))])
        return [REFUSAL]

    def _reset(self, environment: dict[str, Any], note: Callable[..., Any]) -> Answer:
        if self.random.random() < 0.5:
            list(self.app(environment, lambda *answer: None))
        self._deal("reset")
        self._note(NO_ANSWER, environment)
        connection: socket.socket = environment["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)  # else werkzeug would wait for the next request on it, and so the client
        raise ConnectionResetError

    def _cut(self, environment: dict[str, Any], note: Callable[..., Any]) -> Answer:
        body = b"".join(self.app(environment, note))  # with the length of the whole body in its headers
        if body:
            self._deal("cut")
        return [body[: len(body) // 2]]


def serve(app: Unsteady, host: str, port: int) -> None:
    """Serves until the process that has started this one ends; closes the port when the application is to be away."""
    parent = os.getppid()
    while True:
        server = make_server(host, port, app, threaded=True, request_handler=MotoRequestHandler)
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        while not app.away_s:
            if os.getppid() != parent:
                return
            time.sleep(0.02)
        server.shutdown()
        server.server_close()
        time.sleep(app.away_s)
        app.away_s = 0.0


if __name__ == "__main__":
    moto = Unsteady(Atomic(DomainDispatcherApplication(create_backend_app)), Path(sys.argv[2]))
    serve(moto, sys.argv[3] if len(sys.argv) > 3 else "0.0.0.0", int(sys.argv[1]))
