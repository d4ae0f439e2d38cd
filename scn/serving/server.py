"""Runs the page's application until it is ended."""

import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from scn.core.errors import UserError
from scn.inference.precision import exact
from scn.registry.reference import ModelEntry
from scn.serving.app import Limits, make_app
from scn.serving.jobs import Jobs, Worker
from scn.serving.work import Restorer
from scn.storage.patience import at_most

_PATIENCE_S = 2.0
"""Seconds for which a request, or a photograph whose turn it is, waits for a store that fails."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the page is served; fields are those of `scn serve`."""

    host: str = "127.0.0.1"
    port: int = 8765
    most: int = 64
    keep_s: float = 3600.0
    show: bool = False


def run(
    restorer: Restorer,
    models: Callable[[], Sequence[ModelEntry]],
    settings: Settings,
    limits: Limits,
    workers: Sequence[Worker],
) -> None:
    """Serves until Ctrl-C or SIGTERM; photographs that are being restored are given up then.

    Args:
        restorer: checks and estimates.
        workers: do the work; those of this process are the restorers.
    Raises:
        UserError: if the address can't be listened on.
    """
    with (
        tempfile.TemporaryDirectory(prefix="scn-serve-") as folder,
        _listening(settings) as listening,
        exact(),
        at_most(_PATIENCE_S),
    ):
        jobs = Jobs(
            Path(folder),
            workers,
            most=settings.most,
            keep_s=settings.keep_s,
            measured=lambda: sorted({entry.name for entry in models()}),
        )
        local = settings.host in _LOOPBACK
        port = listening.getsockname()[1]
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{name}:{port}/"
        whom = "for this machine only" if local else "for everybody who reaches this machine"
        try:
            app = make_app(jobs, restorer, models, limits, [*_LOOPBACK, "[::1]"] if local else ["*"])
            print(f"SCN restores photographs at {url} ({whom}); Ctrl-C ends it", flush=True)
            if settings.show:
                webbrowser.open(url)
            config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
            # uvicorn ends at SIGINT and SIGTERM, and then raises the signal again: nothing is left to interrupt
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            jobs.close()


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((settings.host, settings.port))
        found.listen(256)
    except OSError as error:
        found.close()
        raise UserError(
            f"{settings.host}:{settings.port} can't be listened on ({error.strerror}): name another --port or --host."
        ) from None
    return found
