"""A store in a bucket of an S3-compatible service; boto3 is imported when the first one is opened.

Every upload carries the MD5 of its bytes. The ETag that the service gives the object is compared with that MD5 (for an
object in parts: with the MD5 of their MD5s); where a service's ETag is something else, as with KMS encryption, the
object is read back, and so is every small one: manifests and records, which say what else there is.

Conditions are sent as a probe has found them to work (scn.storage.s3_conduct), and nothing is sent again without them.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, suppress
from io import BufferedReader
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from scn.storage.base import (
    BLOCK_BYTES,
    PART_BYTES,
    Content,
    ObjectNotFound,
    Row,
    Store,
    StoreBusy,
    StoreError,
    StoreLacks,
    Token,
    check_key,
    check_prefix,
    is_hidden,
)
from scn.storage.s3_client import ETags, etags, in_base64, md5_of, put, s3_client, s3_errors, status_of
from scn.storage.s3_conduct import CREATE, Conduct, Found, conduct_of, describe

_MOST_PARTS = 10_000  # in one upload: S3's limit
_MOST_AT_ONCE = 5 * 1024**3  # bytes in one put: S3's limit
_READ_BACK = 64 * 1024  # bytes up to which an object is read after it was written
_THREADS = 8


class S3Store(Store):
    """A bucket of an S3-compatible service, or the part of it below a prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self._client = s3_client(attempts=5, connect_timeout=5, read_timeout=60)

    def __reduce__(self) -> tuple[Callable[[str, str], Store], tuple[str, str]]:
        return S3Store, (self._bucket, self._prefix.rstrip("/"))

    def holds(self, key: str, *, sha256: str, size: int) -> bool:
        head = self._head(key)
        if head is None or head["ContentLength"] != size:
            return False
        # Read, as nothing else is sure to tell an object that was damaged in place: its ETag and its metadata may stay.
        with suppress(ObjectNotFound):  # it was removed meanwhile
            return self._read_sha256(key) == sha256
        return False

    def exists(self, key: str) -> bool:
        return self._head(key) is not None

    def list(self, prefix: str = "") -> list[str]:
        check_prefix(prefix)
        pages = self._client.get_paginator("list_objects_v2")
        with self._s3_errors(prefix):
            keys = [
                entry["Key"].removeprefix(self._prefix)
                for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
                for entry in page.get("Contents", ())
            ]
        # Consoles make "folders" as empty objects whose key ends with a slash.
        return sorted(key for key in keys if not key.endswith("/") and not is_hidden(key))

    def delete(self, key: str) -> None:
        with suppress(ObjectNotFound), self._s3_errors(key):
            self._client.delete_object(**self._at(key))

    def read_pointer(self, key: str) -> tuple[bytes | None, Token]:
        place = self._at(key)
        try:
            with self._s3_errors(key):
                answer = self._client.get_object(**place)
                with closing(answer["Body"]) as body:
                    return body.read(), answer["ETag"]
        except ObjectNotFound:
            return None, None

    def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
        place, conduct = self._at(key), self._conduct()
        conditional = (conduct.creates if token is None else conduct.replaces) is Found.KEPT
        if not conditional and self.read_pointer(key)[1] != token:
            return False
        condition = {} if not conditional else CREATE if token is None else conduct.if_match(token)
        with self._s3_errors(key):
            sent = put(self._client, place, data, condition)
        if sent is None:
            return False
        found, now = self.read_pointer(key)
        if found == data:
            return True
        if conditional and now and now != token and now.strip('"') != sent.found:
            return True  # the next one has moved it since
        if not conditional and found is not None and now != token:
            return False
        raise StoreError(f"{self.url}/{key} reads otherwise than it was just written: check the service and try again.")

    def reach(self) -> None:
        # Fewer attempts than for work: an endpoint that is not there is told within about ten seconds.
        client = s3_client(attempts=2, connect_timeout=4, read_timeout=4)
        with self._s3_errors():
            client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def check(self, write: bool = True) -> None:
        self.reach()
        if write:
            self._conduct()

    def lacks(self) -> str:
        return self._conduct().lacks

    def describe_service(self) -> tuple[Row, ...]:
        with self._s3_errors():
            return describe(self._client, self._bucket, self._prefix)

    def shares_disk_with(self, folder: Path) -> bool:
        return False

    def _create(self, key: str, content: Content) -> bool:
        conduct = self._conduct()
        condition = CREATE if conduct.creates is Found.KEPT else {}
        with self._s3_errors(key):
            place = self._at(key)
            if content.size <= PART_BYTES:
                sent = put(self._client, place, content.part(0, content.size), condition)
            elif condition and content.size <= _MOST_AT_ONCE:
                sent = self._send_whole(place, content)
            else:
                self._check_completes(content.size, conduct)
                sent = self._send_parts(place, content, condition)
            if sent is None:
                if self.exists(key):
                    return False
                # S3 asks to try again what meets a removal: 409, and none is there.
                raise StoreBusy(f"{self.url}/{key} was removed while it was written: try again.")
            as_sent = sent.found == sent.expected and content.size > _READ_BACK
            if as_sent or self._read_sha256(key) == content.sha256:
                return True
            if not condition and not self._is_still(place, sent):
                return False  # another writer's, where nothing keeps it from writing over this one's
            self._client.delete_object(**self._at(key))
            raise StoreError(f"{self.url}/{key} did not arrive as it was sent: check the service and try again.")

    def _is_still(self, place: dict[str, Any], sent: ETags) -> bool:
        """True unless the object at `place` has another ETag than what was sent there."""
        head = self._client.head_object(Bucket=place["Bucket"], Key=place["Key"])
        return not sent.found or etags(head, "").found == sent.found

    def _read_sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        with self._s3_errors(key):
            # boto3 fetches parts in parallel, retries those that fail and writes them in order.
            self._client.download_fileobj(Fileobj=SimpleNamespace(write=digest.update), **self._at(key))
        return digest.hexdigest()

    def _read(self, key: str, file: IO[bytes]) -> None:
        with self._s3_errors(key):
            self._client.download_fileobj(Fileobj=file, **self._at(key))

    def _head(self, key: str) -> dict[str, Any] | None:
        place = self._at(key)
        try:
            with self._s3_errors(key):
                head: dict[str, Any] = self._client.head_object(**place)
                return head
        except ObjectNotFound:
            return None

    def _send_whole(self, place: dict[str, Any], content: Content) -> ETags | None:
        """Creates a large object by one request: completing parts on a condition is a race on some services."""
        with BufferedReader(content.stream(), BLOCK_BYTES) as stream:
            return put(self._client, place, stream, CREATE, md5_of(content.blocks()))

    def _check_completes(self, size: int, conduct: Conduct) -> None:
        if conduct.creates is Found.KEPT and conduct.completes is not Found.KEPT:
            raise StoreLacks(
                f"{self.url} takes no object of {size / 1024**3:.1f} GiB safely, as the condition on completing a "
                f"multipart upload is {conduct.completes}: use another service (see `scn store check`)."
            )

    def _send_parts(self, place: dict[str, Any], content: Content, condition: dict[str, str]) -> ETags | None:
        """Creates a large object in parts, several at a time; None if there is one already."""
        from botocore.exceptions import ClientError

        part_bytes = max(PART_BYTES, -(-content.size // _MOST_PARTS))
        upload = {**place, "UploadId": self._client.create_multipart_upload(**place)["UploadId"]}

        def send(number: int) -> tuple[dict[str, Any], bytes]:
            data = content.part((number - 1) * part_bytes, part_bytes)
            md5 = md5_of([data])
            answer = self._client.upload_part(Body=data, ContentMD5=in_base64(md5), PartNumber=number, **upload)
            return {"PartNumber": number, "ETag": answer["ETag"]}, md5

        completed = False
        try:
            count = -(-content.size // part_bytes)
            with ThreadPoolExecutor(_THREADS) as threads:
                sent = list(threads.map(send, range(1, count + 1)))
            parts = {"Parts": [part for part, _ in sent]}
            try:
                answer = self._client.complete_multipart_upload(MultipartUpload=parts, **upload, **condition)
            except ClientError as error:
                if status_of(error) in (404, 409, 412):  # 404: a repeated request, after the first answer was lost
                    return None
                raise
            completed = True
            return etags(answer, f"{md5_of(md5 for _, md5 in sent).hex()}-{count}")
        finally:
            if not completed:
                with suppress(Exception):  # an error on the way out would hide the first one
                    self._client.abort_multipart_upload(**upload)

    def _conduct(self) -> Conduct:
        with self._s3_errors():
            return conduct_of(self._client, self._bucket, self._prefix)

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    def _s3_errors(self, key: str = "") -> AbstractContextManager[None]:
        place = f"{self.url}/{key}".rstrip("/")
        return s3_errors(self._client, self._bucket, place, self._missing(key) if key else None)
