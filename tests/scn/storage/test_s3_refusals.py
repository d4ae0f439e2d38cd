"""What real services refuse is one sentence: keys, what they may do, the clock, the bucket."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest

from scn.storage import open_store
from scn.storage.base import Store, StoreRefuses

pytestmark = pytest.mark.parametrize(
    "service_url",
    [
        pytest.param("seaweedfs_server", marks=pytest.mark.integration, id="seaweedfs"),
        pytest.param("ceph_server", marks=pytest.mark.ceph, id="ceph"),
    ],
    indirect=True,
)
DENIED = r"refused access to {place} \(AccessDenied\): check the AWS_\* keys and what they may do\."


def refused(use: Callable[[], Any], words: str) -> None:
    with pytest.raises(StoreRefuses, match=words) as error:
        use()
    assert "\n" not in str(error.value)


def uses(store: Store) -> list[Callable[[], Any]]:
    return [lambda: store.put("b", b"1"), lambda: store.get("a"), store.list, lambda: store.read_pointer("p")]


@pytest.mark.parametrize(
    ("variable", "code"), [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNot")]
)
def test_wrong_keys(service_url: str, monkeypatch: pytest.MonkeyPatch, variable: str, code: str) -> None:
    monkeypatch.setenv(variable, "wrong")
    for use in uses(open_store(service_url)):
        refused(use, rf"refused access to s3://\S* \(({code}\w*|403)\): check the AWS_\* keys and what they may do\.")


def test_a_clock_that_is_off(service_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(hours=1)

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: Late.now(UTC).replace(tzinfo=None))
    monkeypatch.setattr("scn.storage.s3_client.datetime", Late)
    for use in uses(open_store(service_url)):
        refused(
            use, r"refused access, as the clock of this machine \(\d\d:\d\d UTC\) and its own differ: set the clock\."
        )


def test_a_bucket_that_is_missing(service_url: str) -> None:
    for use in uses(open_store("s3://no-such-bucket/prefix")):
        refused(use, r"s3://no-such-bucket does not exist at http://\S+: create it \(`aws s3 mb s3://no-such-bucket`\)")


def test_keys_that_may_only_read(service_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_store(service_url)
    writer.put("a", b"1")
    assert writer.swap_pointer("p", b"1", writer.read_pointer("p")[1])
    (tmp_path / "large").write_bytes(bytes(20 * 2**20))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "reader")
    store = open_store(service_url)
    assert (store.get("a"), store.list(), store.read_pointer("p")[0]) == (b"1", ["a", "p"], b"1")
    for key, use in {
        "b": lambda: store.put("b", b"1"),
        "large": lambda: store.put_file("large", tmp_path / "large"),
        "q": lambda: store.swap_pointer("q", b"1", store.read_pointer("q")[1]),
        "a": lambda: store.delete("a"),
    }.items():
        refused(use, DENIED.format(place=f"{service_url}/{key}"))
    assert writer.list() == ["a", "p"]
