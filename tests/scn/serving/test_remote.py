"""What the page sends to its replicas is what the registry names now."""

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.registry.several import Models, Packed
from scn.serving import cluster
from scn.serving.cluster import Remote, _forward
from scn.serving.work import Restorer
from scn.storage.base import StoreError


class Registry(Models):
    """A registry that names one version, or fails."""

    version: str | None = "v1"
    error: UserError = UserError("its file is damaged")

    def packed(self, reference: str) -> Packed:
        if self.version is None:
            raise self.error
        return Packed(files={reference: (self.version, {"file": b""})}, candidates=[])


def test_models_are_packed_again_when_the_registry_names_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = list[Any]()
    monkeypatch.setattr("ray.put", lambda packed: put.append(packed) or len(put))
    registry = Registry("cpu", "")
    remote = Remote(None, Restorer("cpu", models=registry))
    first = remote._models("sr-x2")
    registry.version = "v2"
    assert remote._models("sr-x2") == first  # not asked again at once
    monkeypatch.setattr(cluster, "HEED_S", -1.0)
    second = remote._models("sr-x2")
    assert (first[0] != second[0], second[1]) == (True, 2)
    assert remote._models("sr-x2") == second
    registry.version = None
    assert remote._models("sr-x2") == second
    assert len(put) == 2
    with pytest.raises(UserError, match=r"^model: dn-s25 can't be loaded here: choose another\.$"):
        remote._models("dn-s25")
    assert capsys.readouterr().err == "dn-s25: its file is damaged\n"
    registry.error = StoreError("No answer from s3://models.")
    with pytest.raises(StoreError, match="No answer"):  # is told as that, not as a model's fault
        remote._models("dn-s25")


def test_a_stream_that_ends_in_any_way_ends_the_job() -> None:
    def broken() -> Iterator[float]:
        yield 0.5
        raise GeneratorExit

    for stream, last in ((iter([0.5]), "the replica ended without a result"), (broken(), "GeneratorExit()")):
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        _forward(stream, events)
        assert events.get() == 0.5
        assert str(events.get()) == last
