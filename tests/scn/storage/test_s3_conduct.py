"""What a service does is found by trying, and decides how objects are sent and who may publish."""

import io
import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from strange_services import (
    LARGE,
    answer,
    assert_pointer_moves,
    conditional,
    ignore,
    refuse_every_etag,
    refuse_to_know,
    untried,
    want_no_quotes,
)

from scn.storage import open_store
from scn.storage.base import ObjectExists, StoreError, StoreLacks
from scn.storage.patience import Patience, PatientStore
from scn.storage.s3_conduct import RACERS, Found
from scn.storage.writers import check_writers

KEPT = (Found.KEPT, Found.KEPT, Found.KEPT)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("hooks", "expected", "lacks"),
    [
        ({}, (*KEPT, True), ""),
        ({"PutObject": want_no_quotes}, (*KEPT, False), ""),
        ({"CompleteMultipartUpload": ignore}, (Found.KEPT, Found.IGNORED, Found.KEPT, True), ""),
        ({"CompleteMultipartUpload": refuse_to_know}, (Found.KEPT, Found.UNKNOWN, Found.KEPT, True), ""),
        (
            {"PutObject": ignore, "CompleteMultipartUpload": ignore},
            (Found.IGNORED, Found.IGNORED, Found.IGNORED, True),
            "If-None-Match is ignored and If-Match is ignored",
        ),
        (
            {"PutObject": refuse_to_know, "CompleteMultipartUpload": refuse_to_know},
            (Found.UNKNOWN, Found.UNKNOWN, Found.UNKNOWN, True),
            "If-None-Match is not implemented and If-Match is not implemented",
        ),
        (
            {"PutObject": refuse_every_etag},
            (Found.KEPT, Found.KEPT, Found.REFUSED, True),
            "If-Match is refused even if true",
        ),
    ],
)
def test_what_a_service_does_is_found_by_trying(
    s3_bucket: str, hooks: dict[str, Any], expected: tuple[object, ...], lacks: str
) -> None:
    """And the store serves nevertheless, for one writer."""
    store = untried(s3_bucket)
    for operation, hook in hooks.items():
        store._client.meta.events.register(f"before-send.s3.{operation}", hook)
    found = store._conduct()
    if found.completes is Found.RACY:  # moto itself looks for an object, and then completes
        found = found._replace(completes=Found.KEPT)
    assert found == expected
    assert store.lacks() == lacks
    assert "Contents" not in store._client.list_objects_v2(Bucket=s3_bucket)
    assert_pointer_moves(store)


@pytest.mark.integration
def test_a_service_where_two_writers_win_is_found(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = untried(s3_bucket)
    together, asked = threading.Barrier(RACERS, timeout=60), itertools.count()

    def look_then_write(request: Any, **_: object) -> None:
        if request.headers.get("If-None-Match") and next(asked) < RACERS:
            together.wait()  # all have looked before the first one writes
            del request.headers["If-None-Match"]

    store._client.meta.events.register("before-send.s3.PutObject", look_then_write)
    assert store._conduct().creates is Found.RACY
    with pytest.raises(StoreLacks, match=r"can't be published to.*not when several write at once.*single_writer"):
        check_writers(store, single=False)


@pytest.mark.integration
def test_a_service_where_two_complete_at_once_is_found(s3_bucket: str) -> None:
    store, together, asked = untried(s3_bucket), threading.Barrier(RACERS, timeout=60), itertools.count()

    def look_then_complete(request: Any, **_: object) -> None:
        if next(asked):  # the probe's first upload comes alone: it is the others that race
            together.wait()
            del request.headers["If-None-Match"]

    store._client.meta.events.register("before-send.s3.CompleteMultipartUpload", look_then_complete)
    assert store._conduct().completes is Found.RACY
    assert store.lacks() == ""


@pytest.mark.integration
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_a_racer_that_fails_leaves_no_other_waiting(s3_bucket: str, operation: str) -> None:
    store, sent = untried(s3_bucket), list[str]()

    def refuse_the_second(request: Any, **_: object) -> Any:
        sent.append(request.url)
        return answer(403, "AccessDenied") if len(sent) == 2 else None

    store._client.meta.events.register(f"before-send.s3.{operation}", refuse_the_second)
    with pytest.raises(StoreError, match="AccessDenied"):
        store.check()
    assert len(sent) >= 2


@pytest.mark.integration
def test_a_probe_that_is_damaged_on_its_way_tells_nothing_of_the_service(s3_bucket: str) -> None:
    store = untried(s3_bucket)

    def spoil(request: Any, **_: object) -> None:
        request.body = io.BytesIO(b"\xff" * 16)

    store._client.meta.events.register("before-send.s3.PutObject", spoil)
    with pytest.raises(StoreError, match="reads otherwise there: check the network"):
        store.put("a", b"1")
    store._client.meta.events.unregister("before-send.s3.PutObject", spoil)
    assert store.lacks() == ""


@pytest.mark.integration
def test_one_publisher_is_told_and_several_are_refused(s3_bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = untried(s3_bucket)
    store._client.meta.events.register("before-send.s3.PutObject", refuse_every_etag)
    with pytest.raises(StoreLacks, match=f"^{store.url} can't be published to"):
        check_writers(store, single=False)
    assert capsys.readouterr().err == ""
    check_writers(store, single=True)
    check_writers(store, single=False, publishing=False)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{store.url} is safe with one publisher only (If-Match is refused even if true)")
    assert second.startswith(f"{store.url} can't be published to, as two publishers at once would mix their files")


@pytest.mark.integration
def test_a_large_object_is_sent_by_one_request(s3_bucket: str, tmp_path: Path) -> None:
    store, sent = untried(s3_bucket), list[str]()
    events = store._client.meta.events
    store.check()
    events.register("before-call.s3", lambda model, **_: sent.append(model.name))
    (tmp_path / "file").write_bytes(LARGE)
    assert store.put_file("large", tmp_path / "file") is True
    assert store.put_file("large", tmp_path / "file") is False
    assert sent[:4] == ["HeadObject", "PutObject", "HeadObject", "HeadObject"]
    assert set(sent[4:]) == {"GetObject"}  # the second time it is read, in parts
    assert store.get("large") == LARGE

    def overtake(**_: object) -> None:
        open_store(store.url).put("b", b"first")

    events.register("before-call.s3.PutObject", overtake)
    with pytest.raises(ObjectExists):
        store.put("b", LARGE)
    assert store.get("b") == b"first"


@pytest.mark.integration
def test_what_is_too_large_to_be_sent_whole_is_refused_at_once(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = untried(s3_bucket)
    store._client.meta.events.register("before-send.s3.CompleteMultipartUpload", ignore)
    monkeypatch.setattr("scn.storage.s3._MOST_AT_ONCE", len(LARGE) - 1)
    with pytest.raises(StoreLacks, match=r"takes no object of 0\.0 GiB safely, as the condition .* is ignored"):
        PatientStore(store, Patience(store.url, 600)).put("a", LARGE)


@pytest.mark.integration
def test_an_error_that_no_service_should_give_is_not_taken_for_ignorance(s3_bucket: str) -> None:
    """Only a service that says that it knows no conditions is asked without them."""
    store, sent = untried(s3_bucket), []

    def refuse(request: Any, **_: object) -> Any:
        sent.append(conditional(request))
        return answer(400, "InvalidArgument")

    store._client.meta.events.register("before-send.s3.PutObject", refuse)
    with pytest.raises(StoreError, match="InvalidArgument"):
        store.put("a", b"1")
    assert sent
    assert all(sent)
