"""Services that do what ours does not: hooks for the client of a store, and what a store must do with any of them."""

from typing import Any

import pytest

from scn.storage import open_store
from scn.storage.base import ObjectExists, Store
from scn.storage.s3 import S3Store

LARGE = bytes(range(256)) * 4096 * 17  # 17 MiB: three parts


def untried(bucket: str) -> S3Store:
    opened = open_store(f"s3://{bucket}/some/prefix")
    assert isinstance(opened, S3Store)
    return opened


def conditional(request: Any) -> bool:
    return bool({"If-Match", "If-None-Match"} & set(request.headers.keys()))


def ignore(request: Any, **_: object) -> None:
    for name in ("If-Match", "If-None-Match"):
        request.headers.pop(name, None)


def refuse_to_know(request: Any, **_: object) -> Any:
    return answer(501, "NotImplemented") if conditional(request) else None


def want_no_quotes(request: Any, **_: object) -> Any:
    """As Ceph's RGW does."""
    return answer(412, "PreconditionFailed") if '"' in str(request.headers.get("If-Match")) else None


def refuse_every_etag(request: Any, **_: object) -> Any:
    return answer(412, "PreconditionFailed") if request.headers.get("If-Match") else None


def assert_pointer_moves(store: Store) -> None:
    assert store.swap_pointer("latest", b"v1", None) is True
    assert store.swap_pointer("latest", b"v1 again", None) is False
    token = store.read_pointer("latest")[1]
    assert store.swap_pointer("latest", b"v2", token) is True
    assert store.swap_pointer("latest", b"v3", token) is False
    assert store.read_pointer("latest")[0] == b"v2"
    assert store.put("object", b"1") is True
    assert store.put("object", b"1") is False
    with pytest.raises(ObjectExists):
        store.put("object", b"2")
    assert store.put("large", LARGE) is True
    assert store.put("large", LARGE) is False


def answer(status: int, code: str, headers: dict[str, str] | None = None) -> Any:
    """Makes an error that an S3 service answers."""
    from botocore.awsrequest import AWSResponse

    class Raw:
        def stream(self, **_: object) -> list[bytes]:
            return [f"<Error><Code>{code}</Code><Message>As the test wants it</Message></Error>".encode()]

    return AWSResponse("http://127.0.0.1", status, headers or {}, Raw())
