"""The S3 store, besides the tests of test_local.py: probes, pages, and errors in one sentence."""

import base64
import hashlib
import io
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from strange_services import LARGE, answer

from scn.storage import open_store
from scn.storage.base import PART_BYTES, ObjectExists, StoreBusy, StoreError, StoreLacks, StoreRefuses
from scn.storage.patience import Patience, PatientStore
from scn.storage.s3 import S3Store
from scn.storage.s3_client import s3_client


def tried(url: str) -> S3Store:
    """A store whose service has been tried, so that what a test does to its client meets its own requests only."""
    opened = open_store(url)
    assert isinstance(opened, S3Store)
    opened.check()
    return opened


@pytest.fixture
def s3_store(s3_url: str) -> S3Store:
    """An empty store that has been tried already, as others in its bucket have been."""
    return tried(s3_url)


@pytest.fixture
def store_alone(s3_bucket: str) -> S3Store:
    """One with a bucket of its own, for tests that see more of the bucket than what lies below the prefix."""
    return tried(f"s3://{s3_bucket}/some/prefix")


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of more than one part are sent in parts, as those of more than 5 GiB are."""
    monkeypatch.setattr("scn.storage.s3._MOST_AT_ONCE", PART_BYTES)


@pytest.mark.integration
def test_a_swap_whose_answer_is_lost_has_won(s3_store: S3Store) -> None:
    """The repeated request finds that the first one has moved the pointer."""

    def lose_the_first_answer(request: Any, **_: object) -> Any:
        events.unregister("before-send.s3.PutObject", lose_the_first_answer)
        assert open_store(s3_store.url).swap_pointer("latest", b"v1", None)
        return answer(500, "InternalError")

    events = s3_store._client.meta.events
    events.register("before-send.s3.PutObject", lose_the_first_answer)
    assert s3_store.swap_pointer("latest", b"v1", None) is True
    assert s3_store.read_pointer("latest")[0] == b"v1"


@pytest.mark.integration
@pytest.mark.parametrize("statuses", [[409], [500, 409], [412]])
def test_an_object_that_is_written_while_it_is_removed_is_written_again(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch, statuses: list[int]
) -> None:
    monkeypatch.setattr("scn.storage.patience.FIRST_PAUSE", 0.01)
    answers = iter([answer(status, "ConditionalRequestConflict") for status in statuses])
    s3_store._client.meta.events.register("before-send.s3.PutObject", lambda **_: next(answers, None))
    with pytest.raises(StoreBusy, match=f"^{s3_store.url}/a was removed while it was written: try again"):
        s3_store.put("a", b"1")
    answers = iter([answer(status, "ConditionalRequestConflict") for status in statuses])
    assert PatientStore(s3_store, Patience(s3_store.url, 60)).put("a", b"1") is True
    assert s3_store.get("a") == b"1"


@pytest.mark.usefixtures("in_parts")
@pytest.mark.integration
def test_uploads_carry_their_md5(s3_store: S3Store) -> None:
    sent: list[tuple[str, bool]] = []

    def note(request: Any, **_: object) -> None:
        md5 = hashlib.md5(request.body.getvalue(), usedforsecurity=False).digest()
        sent.append((request.method, base64.b64encode(md5) == request.headers.get("Content-MD5")))

    for operation in ("PutObject", "UploadPart"):
        s3_store._client.meta.events.register(f"before-send.s3.{operation}", note)
    assert s3_store.put("small", b"1") is True
    assert s3_store.put("large", LARGE) is True
    assert sent == [("PUT", True)] * 4
    assert s3_store.get("large") == LARGE


@pytest.mark.integration
@pytest.mark.parametrize(("operation", "data"), [("PutObject", b"small"), ("PutObject", LARGE), ("UploadPart", LARGE)])
def test_what_was_damaged_on_the_way_is_no_object(
    s3_store: S3Store, operation: str, data: bytes, request: pytest.FixtureRequest
) -> None:
    """moto, unlike S3, takes a body whose MD5 differs from the header's."""
    if operation == "UploadPart":
        request.getfixturevalue("in_parts")

    def spoil(request: Any, **_: object) -> None:
        request.body = io.BytesIO(b"\xff" + request.body.read()[1:])

    s3_store._client.meta.events.register(f"before-send.s3.{operation}", spoil)
    with pytest.raises(StoreError, match=f"^{s3_store.url}/a did not arrive as it was sent: check the service and"):
        s3_store.put("a", data)
    assert s3_store.list() == []
    s3_store._client.meta.events.unregister(f"before-send.s3.{operation}", spoil)
    assert s3_store.put("a", data) is True
    assert s3_store.get("a") == data


@pytest.mark.integration
@pytest.mark.parametrize(
    ("operation", "data"), [("PutObject", b"small"), ("PutObject", LARGE), ("CompleteMultipartUpload", LARGE)]
)
@pytest.mark.parametrize("etag", ['"0123456789abcdef0123456789abcdef"', None])
def test_an_etag_that_is_no_md5_is_made_up_by_reading(
    s3_store: S3Store, operation: str, data: bytes, etag: str | None, request: pytest.FixtureRequest
) -> None:
    if operation == "CompleteMultipartUpload":
        request.getfixturevalue("in_parts")
    read = []
    events = s3_store._client.meta.events
    events.register(f"after-call.s3.{operation}", lambda parsed, **_: parsed.update(ETag=etag))
    events.register("before-call.s3.GetObject", lambda **_: read.append("GET"))
    assert s3_store.put("a", data) is True
    assert read
    assert s3_store.get("a") == data


@pytest.mark.usefixtures("in_parts")
@pytest.mark.integration
def test_an_upload_that_fails_is_aborted(store_alone: S3Store) -> None:
    def refuse(request: Any, **_: object) -> Any:
        return answer(403, "AccessDenied") if "partNumber=2" in request.url else None

    store_alone._client.meta.events.register("before-send.s3.UploadPart", refuse)
    with pytest.raises(StoreError, match=f"refused access to {store_alone.url}/a "):
        store_alone.put("a", LARGE)
    assert store_alone.list() == []
    assert "Uploads" not in store_alone._client.list_multipart_uploads(Bucket=store_alone._bucket)


@pytest.mark.integration
@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"])
def test_an_upload_that_the_service_finds_damaged_is_not_repeated_without_its_condition(
    s3_store: S3Store, code: str
) -> None:
    sent = []

    def refuse(request: Any, **_: object) -> Any:
        sent.append(request.headers.get("If-None-Match"))
        return answer(400, code)

    s3_store._client.meta.events.register("before-send.s3.PutObject", refuse)
    with pytest.raises(StoreError, match=rf"{s3_store.url}/a was damaged on its way to \S+ \({code}\): try again"):
        s3_store.put("a", b"1")
    assert sent == [b"*"]


@pytest.mark.integration
def test_a_pointer_that_reads_otherwise_than_it_was_written_is_told(s3_store: S3Store) -> None:
    def spoil(request: Any, **_: object) -> None:
        request.body = io.BytesIO(b"\xff\xff")

    s3_store._client.meta.events.register("before-send.s3.PutObject", spoil)
    with pytest.raises(StoreError, match="latest reads otherwise than it was just written"):
        s3_store.swap_pointer("latest", b"v1", None)


@pytest.mark.integration
def test_a_pointer_that_the_next_one_moves_at_once_was_moved(s3_store: S3Store) -> None:
    def overtake(**_: object) -> None:
        s3_store._client.meta.events.unregister("after-call.s3.PutObject", overtake)
        other = open_store(s3_store.url)
        assert other.swap_pointer("latest", b"v2", other.read_pointer("latest")[1])

    s3_store._client.meta.events.register("after-call.s3.PutObject", overtake)
    assert s3_store.swap_pointer("latest", b"v1", None) is True
    assert s3_store.read_pointer("latest")[0] == b"v2"


@pytest.mark.integration
def test_a_body_that_is_cut_off_is_one_sentence_and_may_be_asked_for_again(s3_store: S3Store) -> None:
    from botocore.response import StreamingBody
    from urllib3.exceptions import ProtocolError

    class Cut(io.BytesIO):
        def read(self, *_: object, **__: object) -> bytes:
            raise ProtocolError("Connection broken: IncompleteRead(1 bytes read, 1 more expected)")

    assert s3_store.swap_pointer("latest", b"v1", None)
    cut = "after-call.s3.GetObject", lambda parsed, **_: parsed.update(Body=StreamingBody(Cut(), 2))
    s3_store._client.meta.events.register(*cut)
    with pytest.raises(StoreBusy, match=rf"^The answer of \S+ for {s3_store.url}/latest was cut off: try"):
        s3_store.read_pointer("latest")
    s3_store._client.meta.events.unregister(*cut)
    assert s3_store.read_pointer("latest")[0] == b"v1"


@pytest.mark.integration
def test_a_small_object_is_read_after_it_was_written(s3_store: S3Store) -> None:
    read = []
    s3_store._client.meta.events.register("before-call.s3.GetObject", lambda **_: read.append("GET"))
    s3_store.put("manifest.json", b"{}")
    assert read == ["GET"]


@pytest.mark.integration
def test_a_writer_killed_before_the_last_request_leaves_no_object(store_alone: S3Store) -> None:
    code = (
        "import sys, time, scn.storage as s, scn.storage.s3 as s3\n"
        "s3._MOST_AT_ONCE = 0\n"
        "store = s.open_store(sys.argv[1])\n"
        "wait = lambda **_: (print('sent', flush=True), time.sleep(600))\n"
        "store._client.meta.events.register('before-call.s3.CompleteMultipartUpload', wait)\n"
        "store.put('a', b'x' * 9 * 1024**2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, store_alone.url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "sent\n"
        writer.send_signal(signal.SIGKILL)
    assert store_alone.list() == []
    assert store_alone.exists("a") is False
    assert store_alone.put("a", b"new") is True


@pytest.mark.usefixtures("in_parts")
@pytest.mark.integration
@pytest.mark.parametrize("same", [True, False])
def test_an_object_that_appears_during_an_upload_stays(store_alone: S3Store, same: bool) -> None:
    def overtake(**_: object) -> None:
        open_store(store_alone.url).put("a", LARGE if same else b"first")

    store_alone._client.meta.events.register("before-call.s3.CompleteMultipartUpload", overtake)
    if same:
        assert store_alone.put("a", LARGE) is False
    else:
        with pytest.raises(ObjectExists):
            store_alone.put("a", LARGE)
        assert store_alone.get("a") == b"first"
    assert "Uploads" not in store_alone._client.list_multipart_uploads(Bucket=store_alone._bucket)


@pytest.mark.integration
def test_what_an_object_holds_is_read_whatever_its_metadata_say(s3_store: S3Store) -> None:
    about = {"Metadata": {"sha256": hashlib.sha256(b"diff").hexdigest()}}  # as if it had been damaged in place
    s3_store._client.put_object(Body=b"same", **s3_store._at("a"), **about)
    assert s3_store.put("a", b"same") is False
    assert s3_store.holds("a", sha256=about["Metadata"]["sha256"], size=4) is False
    with pytest.raises(ObjectExists):
        s3_store.put("a", b"diff")
    assert s3_store.put("a", b"diff", names_content=True) is True
    assert s3_store.get("a") == b"diff"


@pytest.mark.integration
def test_an_object_that_is_removed_while_it_is_looked_at_is_not_held(s3_store: S3Store) -> None:
    s3_store.put("a", b"1")
    remove = open_store(s3_store.url).delete
    s3_store._client.meta.events.register("after-call.s3.HeadObject", lambda **_: remove("a"))
    assert s3_store.holds("a", sha256=hashlib.sha256(b"1").hexdigest(), size=1) is False


@pytest.mark.integration
def test_listing_goes_over_pages(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_store._client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=2)
    )
    for n in range(5):
        s3_store.put(f"k/{n}", b"1")
    s3_store._client.put_object(Bucket=s3_store._bucket, Key=f"{s3_store._prefix}k/")  # a console's "folder"
    assert s3_store.list("k/") == [f"k/{n}" for n in range(5)]


def test_an_unreachable_endpoint_is_told(s3_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:  # kept, so that nobody else comes to listen there
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        start = time.monotonic()
        with pytest.raises(StoreError) as error:
            open_store("s3://bucket/prefix").check()
    assert time.monotonic() - start < 30
    assert str(error.value) == (
        f"No answer from {endpoint} for s3://bucket/prefix (EndpointConnectionError): "
        "start the service or correct AWS_ENDPOINT_URL."
    )


@pytest.fixture
def s3_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets test keys, and hides the user's own AWS settings."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.integration
def test_a_missing_bucket_is_told(s3_endpoint: str) -> None:
    store = open_store("s3://nowhere/prefix")
    expected = f"does not exist at {s3_endpoint}: create it (`aws s3 mb s3://nowhere`) or correct storage.url."
    for use in (store.reach, store.list, lambda: store.put("a", b"1"), lambda: store.read_pointer("a")):
        with pytest.raises(StoreError) as error:
            use()
        assert str(error.value) == f"s3://nowhere {expected}"


@pytest.mark.integration
def test_missing_credentials_are_told(s3_endpoint: str, s3_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError) as error:
        open_store("s3://bucket").check()
    assert str(error.value) == "No credentials for s3://bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", "refused access to s3://bucket/a (AccessDenied): check the AWS_* keys and what they"),
        (403, "InvalidObjectState", "s3://bucket/a lies in an archive of http"),
        (400, "ExpiredToken", "refused access to s3://bucket/a (ExpiredToken): check the AWS_* keys and what they"),
        (405, "MethodNotAllowed", "s3://bucket/a can't be used (An error occurred (MethodNotAllowed) when calling"),
    ],
)
def test_refusals_are_told(s3_settings: None, status: int, code: str, expected: str) -> None:
    store = open_store("s3://bucket")
    assert isinstance(store, S3Store)
    store._client.meta.events.register("before-send.s3", lambda **_: answer(status, code))
    with pytest.raises(StoreError) as error:
        store.read_pointer("a")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", StoreRefuses),
        (403, "InvalidAccessKeyId", StoreRefuses),
        (403, "InvalidObjectState", StoreLacks),
        (404, "NoSuchBucket", StoreRefuses),
        (503, "SlowDown", StoreBusy),
        (405, "MethodNotAllowed", StoreError),
    ],
)
def test_whether_waiting_may_help_is_told_by_the_answer(
    s3_settings: None, status: int, code: str, kind: type[StoreError]
) -> None:
    store = open_store("s3://bucket")
    assert isinstance(store, S3Store)
    store._client = s3_client(attempts=1, connect_timeout=1, read_timeout=1)
    store._client.meta.events.register("before-send.s3", lambda **_: answer(status, code))
    with pytest.raises(StoreError) as error:
        store.list()
    assert type(error.value) is kind


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "403"])
def test_a_clock_that_is_off_is_told(s3_settings: None, code: str) -> None:
    """Also where the answer has no words, as that to HEAD: there the service's clock is in its header."""
    store = open_store("s3://bucket")
    assert isinstance(store, S3Store)
    theirs = {"date": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
    store._client.meta.events.register("before-send.s3", lambda **_: answer(403, code, theirs))
    with pytest.raises(StoreError, match=r"refused access, as the clock of this machine \(\d\d:\d\d UTC\) and its own"):
        store.read_pointer("a")


def test_a_service_that_falls_silent_is_told(s3_settings: None) -> None:
    from botocore.exceptions import ReadTimeoutError

    store = open_store("s3://bucket")
    assert isinstance(store, S3Store)
    with (
        pytest.raises(StoreError, match=r"No answer from \S+ for s3://bucket/a \(ReadTimeoutError\)"),
        store._s3_errors("a"),
    ):
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


def test_an_endpoint_without_a_scheme_is_told(s3_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(StoreError, match=r"localhost:9000.*: correct AWS_ENDPOINT_URL"):
        open_store("s3://bucket")
