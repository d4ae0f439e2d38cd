"""What a store keeps, tried row by row, for `scn store check`: by its interface, and on S3 by requests."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from scn.storage.base import PART_BYTES, ObjectExists, Row, Store

WRITERS = 8
"""Number of writers that are let loose on one key at once."""


def examine(store: Store) -> Iterator[Row]:
    """Tries a store, and removes what it has put there.

    Raises:
        StoreError: if the store fails, or may not be written to.
    """
    store.check()
    yield from store.describe_service()
    prefix = f"check-{uuid.uuid4().hex}"
    try:
        yield from _rows(store, prefix)
    finally:
        for key in store.list(f"{prefix}/"):
            store.delete(key)
        store.remove_folder(prefix)


def _rows(store: Store, prefix: str) -> Iterator[Row]:
    key = f"{prefix}/object"
    store.put(key, b"1")
    yield _row("read after write", store.get(key) == b"1", "what was published is there for everybody at once")
    listed = store.list(f"{prefix}/") == [key]
    store.delete(key)
    listed = listed and store.list(f"{prefix}/") == []
    yield _row("list after write and delete", listed, "versions and checkpoints are found by listing")
    for name, size in (("object", 1), ("large object", PART_BYTES + 1)):
        won = _together(lambda n, name=name, size=size: _put(store, f"{prefix}/{name}", bytes([n]) * size))  # type: ignore[misc]
        found = store.get(f"{prefix}/{name}")
        one = len(won) == 1 and found == bytes([won[0]]) * size
        yield _row(f"{WRITERS} writers of one {name}", one, "an object never changes (promise 5)")
    key = f"{prefix}/pointer"
    store.swap_pointer(key, b"start", None)
    token = store.read_pointer(key)[1]
    won = _together(lambda n: store.swap_pointer(key, bytes([n]), token))
    one = len(won) == 1 and store.read_pointer(key)[0] == bytes([won[0]])
    yield _row(f"{WRITERS} movers of one pointer", one, "`latest` and leases move by compare-and-swap (promise 5)")


def _row(what: str, kept: bool, meaning: str) -> Row:
    return Row(what, "kept" if kept else "NOT kept", meaning)


def _put(store: Store, key: str, data: bytes) -> bool:
    try:
        return store.put(key, data)
    except ObjectExists:
        return False


def _together(attempt: Callable[[int], bool]) -> list[int]:
    """The numbers of the writers, of WRITERS at once, that succeeded."""
    start = threading.Barrier(WRITERS)

    def one(number: int) -> bool:
        start.wait()
        return attempt(number)

    with ThreadPoolExecutor(WRITERS) as threads:
        return [number for number, won in enumerate(threads.map(one, range(WRITERS))) if won]
