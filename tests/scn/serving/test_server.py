"""What is so while the page is served."""

from pathlib import Path
from typing import Any

import pytest

from scn.registry.reference import list_models
from scn.serving.app import Limits
from scn.serving.server import Settings, run
from scn.serving.work import Restorer
from scn.storage import patience
from scn.storage.base import StoreError
from scn.storage.local import FileStore


def test_a_store_that_fails_holds_no_request_for_minutes(
    published_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses, served = list[float](), list[str]()

    def away(*_: object) -> Any:
        raise StoreError("No answer.")

    def serve(*_: object, **__: object) -> None:
        with pytest.raises(StoreError, match="No answer"):
            list_models(params_file=published_models)
        served.append("a request")

    monkeypatch.setattr(FileStore, "list", away)
    monkeypatch.setattr(patience, "rest", lambda seconds, over: not pauses.append(seconds))
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(pauses))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("uvicorn.Server.run", serve)
    run(Restorer("cpu", published_models), lambda: [], Settings(port=0), Limits(), [])
    assert (served, sum(pauses)) == (["a request"], 2.0)
