"""What an S3 service does with conditions, found by trying: nothing that it only claims is trusted.

Services are seen that ignore conditions, that ignore them on completing a multipart upload only, that refuse the right
ETag in quotes and take it without, and that refuse it in either form (docs/decisions/0020).
"""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from enum import StrEnum
from typing import Any, NamedTuple

from scn.core.files import HIDDEN
from scn.storage.base import Row, StoreError
from scn.storage.s3_client import code_of, in_base64, md5_of, not_implemented, put, status_of

RACERS = 4
"""Number of writers that a probe lets loose on one key at once."""
_ROUNDS = 3  # of a race that nobody won: a service may refuse all of several requests at once
CREATE = {"IfNoneMatch": "*"}
"""The condition that there is no object yet."""


class Found(StrEnum):
    """What a service does with a condition."""

    KEPT = "kept"
    IGNORED = "ignored"
    """It does what was asked for although the condition is false."""
    RACY = "not when several write at once"
    REFUSED = "refused even if true"
    UNKNOWN = "not implemented"


class Conduct(NamedTuple):
    """What a service does with conditions."""

    creates: Found
    """If-None-Match: * on put_object."""
    completes: Found
    """If-None-Match: * on complete_multipart_upload."""
    replaces: Found
    """If-Match with an ETag on put_object."""
    quoted: bool
    """True if the ETag in If-Match has to stand in quotes, or may."""

    @property
    def lacks(self) -> str:
        """Why several publishers at once are not safe on such a service, as a clause; empty if they are."""
        found = {"If-None-Match": self.creates, "If-Match": self.replaces}
        return " and ".join(f"{name} is {what}" for name, what in found.items() if what is not Found.KEPT)

    def if_match(self, etag: str) -> dict[str, str]:
        """The condition that the object still has this ETag, in the form that the service takes."""
        return _if_match(etag, self.quoted)


_known: dict[tuple[str, str], Conduct] = {}
_lock = threading.Lock()


def conduct_of(client: Any, bucket: str, prefix: str) -> Conduct:
    """What the service of `client` does in a bucket; tried once per process, below `prefix`, with some 30 requests.

    Raises:
        ClientError, BotoCoreError: as boto3 does.
    """
    place = (client.meta.endpoint_url, bucket)
    with _lock:
        if place not in _known:
            _known[place] = _probe(client, bucket, prefix)
        return _known[place]


def _probe(client: Any, bucket: str, prefix: str) -> Conduct:
    # Some services make a missing bucket when something is put into it: a mistake in its name would not be seen.
    client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    name = f"{prefix}{HIDDEN}probe-{uuid.uuid4().hex}"
    places = [{"Bucket": bucket, "Key": f"{name}-{n}"} for n in range(2)]
    try:
        conduct = _conduct(client, *places)
    except BaseException:
        with suppress(Exception):  # an error on the way out would hide the first one
            _delete(client, places)
        raise
    _delete(client, places)
    return conduct


def _conduct(client: Any, taken: dict[str, Any], free: dict[str, Any]) -> Conduct:
    creates = _try(client, taken, CREATE)
    if creates is not Found.KEPT:
        put(client, taken, b"probe", {})
    quoted = True
    replaces = _try(client, taken, _if_match(_read(client, taken)[1], quoted=True))
    if replaces is Found.REFUSED:
        replaces = _try(client, taken, _if_match(_read(client, taken)[1], quoted=False))
        quoted = replaces is Found.REFUSED
    return Conduct(creates, _try_completing(client, taken, free), replaces, quoted)


def _delete(client: Any, places: list[dict[str, Any]]) -> None:
    for place in places:
        client.delete_object(**place)


def _try(client: Any, place: dict[str, Any], condition: dict[str, str]) -> Found:
    """What a service does with a condition that is true for the first of several writers and false for the others."""
    from botocore.exceptions import ClientError

    start = threading.Barrier(RACERS)

    def write(data: bytes) -> bytes | None:
        start.wait()
        return data if put(client, place, data, condition) else None

    try:
        for _ in range(_ROUNDS):
            written = [uuid.uuid4().bytes for _ in range(RACERS)]
            with ThreadPoolExecutor(RACERS) as threads:
                won = list(filter(None, threads.map(write, written)))
            if won:
                break
        if not won:
            return Found.REFUSED
        found = _read(client, place)[0]
        if found not in written:
            service = client.meta.endpoint_url
            raise StoreError(f"What was sent to {service} reads otherwise there: check the network and try again.")
        if len(won) == 1:
            return Found.KEPT if found == won[0] else Found.IGNORED
        return Found.IGNORED if put(client, place, b"again", condition) else Found.RACY
    except ClientError as error:
        if not_implemented(error):
            return Found.UNKNOWN
        raise


def _try_completing(client: Any, taken: dict[str, Any], free: dict[str, Any]) -> Found:
    """What a service does with If-None-Match when a multipart upload is completed."""
    from botocore.exceptions import ClientError

    try:
        before = _read(client, taken)
        if _complete(client, taken) or _read(client, taken) != before:
            return Found.IGNORED
        start = threading.Barrier(RACERS)

        def wait() -> None:
            with suppress(threading.BrokenBarrierError):
                start.wait()

        def race(_: int) -> bool:
            try:
                return _complete(client, free, wait)
            except BaseException:
                start.abort()  # the others would wait for ever for one that failed before
                raise

        with ThreadPoolExecutor(RACERS) as threads:
            won = sum(threads.map(race, range(RACERS)))
        return (Found.REFUSED, Found.KEPT)[won] if won <= 1 else Found.RACY
    except ClientError as error:
        if not_implemented(error):
            return Found.UNKNOWN
        raise


def _complete(client: Any, place: dict[str, Any], ready: Callable[[], object] = lambda: None) -> bool:
    """Uploads an object in one part, if there is none; False if the service says that there is one.

    Args:
        ready: is called when all but completing is done.
    """
    from botocore.exceptions import ClientError

    upload = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
    data, completed = b"in parts", False
    try:
        answer = client.upload_part(Body=data, ContentMD5=in_base64(md5_of([data])), PartNumber=1, **upload)
        parts = {"Parts": [{"PartNumber": 1, "ETag": answer["ETag"]}]}
        ready()
        client.complete_multipart_upload(MultipartUpload=parts, **upload, **CREATE)
        completed = True
    except ClientError as error:
        if status_of(error) not in (409, 412):
            raise
    finally:
        if not completed:
            with suppress(Exception):  # an error on the way out would hide the first one
                client.abort_multipart_upload(**upload)
    return completed


def _read(client: Any, place: dict[str, Any]) -> tuple[bytes, str]:
    """Content and ETag of an object."""
    answer = client.get_object(**place)
    with closing(answer["Body"]) as body:
        return body.read(), str(answer["ETag"])


def _if_match(etag: str, quoted: bool) -> dict[str, str]:
    bare = etag.strip('"')
    return {"IfMatch": f'"{bare}"' if quoted else bare}


def describe(client: Any, bucket: str, prefix: str) -> tuple[Row, ...]:
    """What the service does with the requests of a store, beyond what decides how objects are sent.

    Raises:
        ClientError, BotoCoreError: as boto3 does.
    """
    from botocore.exceptions import ClientError

    conduct = conduct_of(client, bucket, prefix)
    form = "kept" if conduct.quoted else "kept, for an ETag without quotes"
    replaces = form if conduct.replaces is Found.KEPT else str(conduct.replaces)
    kept = conduct.completes is Found.KEPT
    completes = f"objects of more than 5 GiB{'' if kept else ' are refused'}; up to there they are sent whole"
    rows = [
        Row("If-None-Match on put", str(conduct.creates), "immutable objects (promise 5)"),
        Row("If-None-Match on completing parts", str(conduct.completes), completes),
        Row("If-Match on put", replaces, "pointers move by compare-and-swap (promise 5)"),
    ]
    place = {"Bucket": bucket, "Key": f"{prefix}{HIDDEN}check-{uuid.uuid4().hex}"}
    data = b"content of the check"
    try:
        sent = put(client, place, data, {})
        md5 = sent is not None and sent.found == sent.expected
        rows.append(Row("ETag is the MD5", "yes" if md5 else "no", "otherwise what was written is read back"))
        part = client.get_object(**place, Range="bytes=3-5")["Body"].read() == data[3:6]
        rows.append(Row("range of bytes", "kept" if part else "NOT kept", "large objects are read in parts"))
        try:
            client.put_object(Body=data, ContentMD5=in_base64(md5_of([b"other"])), **place)
            damaged = "taken: the ETag tells"
        except ClientError as error:
            damaged = f"refused ({code_of(error)})"
        rows.append(Row("damaged upload", damaged, "no damaged object stays"))
    finally:
        client.delete_object(**place)
    return tuple(rows)
