"""A store in a bucket of an S3-compatible service; boto3 is imported when the first one is opened.

Every upload carries the MD5 of its bytes. The ETag that the service gives the object is compared with that MD5 (for an
object in parts: with the MD5 of their MD5s); where a service's ETag is something else, as with KMS encryption, the
object is read back.
"""

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NamedTuple

from scn.core.files import HIDDEN
from scn.storage.base import (
    PART_BYTES,
    Content,
    ObjectNotFound,
    Store,
    StoreError,
    Token,
    check_key,
    check_prefix,
    is_hidden,
)

_MOST_PARTS = 10_000  # in one upload: S3's limit
_THREADS = 8


class S3Store(Store):
    """A bucket of an S3-compatible service, or the part of it below a prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self._honoured: frozenset[str] | None = None
        self._client = _s3_client(attempts=5, connect_timeout=5, read_timeout=60)

    def __reduce__(self) -> tuple[Callable[[str, str], Store], tuple[str, str]]:
        return S3Store, (self._bucket, self._prefix.rstrip("/"))

    def holds(self, key: str, *, sha256: str, size: int) -> bool:
        head = self._head(key)
        if head is None or head["ContentLength"] != size:
            return False
        found = head.get("Metadata", {}).get("sha256")
        return bool((found or self._read_sha256(key)) == sha256)  # some services lose metadata

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
                with answer["Body"] as body:
                    return body.read(), answer["ETag"]
        except ObjectNotFound:
            return None, None

    def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
        place = self._at(key)
        condition = {"IfNoneMatch": "*"} if token is None else {"IfMatch": token}
        if condition.keys() <= self._honours():
            with self._s3_errors(key):
                return self._send(place, data, condition) is not None
        if self.read_pointer(key)[1] != token:
            return False
        with self._s3_errors(key):
            self._send(place, data, {})
        return self.read_pointer(key)[0] == data

    def check(self, write: bool = True) -> None:
        with self._s3_errors():
            # Fewer attempts than for work: an endpoint that is not there is told within about ten seconds.
            client = _s3_client(attempts=2, connect_timeout=4, read_timeout=4)
            client.head_bucket(Bucket=self._bucket)
        if write:
            self._honours()

    def shares_disk_with(self, folder: Path) -> bool:
        return False

    def _create(self, key: str, content: Content) -> bool:
        with self._s3_errors(key):
            place = self._at(key) | {"Metadata": {"sha256": content.sha256}}
            send = self._send_new if content.size <= PART_BYTES else self._send_parts
            etags = send(place, content)
            if etags is None:
                return False
            if etags.found != etags.expected and self._read_sha256(key) != content.sha256:
                self._client.delete_object(**self._at(key))
                raise StoreError(f"{self.url}/{key} did not arrive as it was sent: check the service and try again.")
            return True

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

    def _send(self, place: dict[str, Any], data: bytes, condition: dict[str, str]) -> "_ETags | None":
        """One put_object; None if the service says that `condition` does not hold. Raises botocore's errors."""
        from botocore.exceptions import ClientError

        md5 = _md5(data)
        try:
            return _etags(self._client.put_object(Body=data, ContentMD5=_base64(md5), **place, **condition), md5.hex())
        except ClientError as error:
            gone = "IfMatch" in condition and _code(error) == "NoSuchKey"
            if not condition or not (gone or _status(error) in (409, 412)):
                raise
            if error.response["ResponseMetadata"].get("RetryAttempts"):
                # The first attempt may have succeeded and only its answer been lost.
                answer = self._client.get_object(Bucket=place["Bucket"], Key=place["Key"])
                with answer["Body"] as body:
                    return _etags(answer, md5.hex()) if body.read() == data else None
            return None

    def _send_new(self, place: dict[str, Any], content: Content) -> "_ETags | None":
        """Creates an object by one request; None if there is one already."""
        from botocore.exceptions import ClientError

        data = content.part(0, content.size)
        try:
            return self._send(place, data, {"IfNoneMatch": "*"})
        except ClientError as error:
            if not _refuses_conditions(error):
                raise
            return self._send(place, data, {})

    def _send_parts(self, place: dict[str, Any], content: Content) -> "_ETags | None":
        """Like _send_new, in parts, several at a time."""
        from botocore.exceptions import ClientError

        metadata = place.pop("Metadata")
        part_bytes = max(PART_BYTES, -(-content.size // _MOST_PARTS))
        upload = {**place, "UploadId": self._client.create_multipart_upload(**place, Metadata=metadata)["UploadId"]}

        def send(number: int) -> tuple[dict[str, Any], bytes]:
            data = content.part((number - 1) * part_bytes, part_bytes)
            md5 = _md5(data)
            answer = self._client.upload_part(Body=data, ContentMD5=_base64(md5), PartNumber=number, **upload)
            return {"PartNumber": number, "ETag": answer["ETag"]}, md5

        def complete(**condition: str) -> dict[str, Any]:
            done: dict[str, Any] = self._client.complete_multipart_upload(
                MultipartUpload={"Parts": [part for part, _ in sent]}, **upload, **condition
            )
            return done

        completed = False
        try:
            count = -(-content.size // part_bytes)
            with ThreadPoolExecutor(_THREADS) as threads:
                sent = list(threads.map(send, range(1, count + 1)))
            expected = f"{_md5(b''.join(md5 for _, md5 in sent)).hex()}-{count}"
            try:
                answer = complete(IfNoneMatch="*")
            except ClientError as error:
                if _status(error) in (404, 409, 412):  # 404: a repeated request, after the first answer was lost
                    return None
                if not _refuses_conditions(error):
                    raise
                answer = complete()
            completed = True
            return _etags(answer, expected)
        finally:
            if not completed:
                with suppress(Exception):  # an error on the way out would hide the first one
                    self._client.abort_multipart_upload(**upload)

    def _honours(self) -> frozenset[str]:
        """The conditions that the service obeys; tried once, because some services ignore them in silence."""
        from botocore.exceptions import ClientError

        if self._honoured is None:
            name = f"{HIDDEN}probe-{uuid.uuid4().hex}"
            place = {"Bucket": self._bucket, "Key": self._prefix + name}
            honoured: set[str] = set()
            with self._s3_errors(name):
                made = self._send(place, b"probe", {})
                for condition in ({"IfNoneMatch": "*"}, {"IfMatch": f'"{"0" * 32}"'}):
                    try:
                        if self._send(place, b"probe", condition) is None:
                            honoured |= condition.keys()
                    except ClientError as error:
                        if not _refuses_conditions(error):
                            raise
                # Some refuse the right tag as well: there a pointer would never move.
                if "IfMatch" in honoured and made and not self._send(place, b"probe", {"IfMatch": f'"{made.found}"'}):
                    honoured.remove("IfMatch")
                self._client.delete_object(**place)
            self._honoured = frozenset(honoured)
        return self._honoured

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    @contextmanager
    def _s3_errors(self, key: str = "") -> Iterator[None]:
        """Turns what boto3 raises into a StoreError of one sentence."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
        from s3transfer.exceptions import RetriesExceededError

        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error, RetriesExceededError) as error:
            if key and _code(error) in ("404", "NoSuchKey"):
                raise self._missing(key) from None
            raise StoreError(self._sentence(error, f"{self.url}/{key}".rstrip("/"))) from error

    def _sentence(self, error: Exception, place: str) -> str:
        from botocore import exceptions as boto

        service, code = self._client.meta.endpoint_url, _code(error)
        if code in ("404", "NoSuchBucket"):
            bucket = f"s3://{self._bucket}"
            return f"{bucket} does not exist at {service}: create it (`aws s3 mb {bucket}`) or correct storage.url."
        if _status(error) in (401, 403) or code in ("ExpiredToken", "InvalidToken"):
            return f"{service} refused access to {place} ({code}): check the AWS_* keys and what they may do."
        if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
            return f"No credentials for {place}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        if isinstance(error, boto.ConnectionError | boto.HTTPClientError):
            kind = type(error).__name__
            return f"No answer from {service} for {place} ({kind}): start the service or correct AWS_ENDPOINT_URL."
        detail = " ".join(str(error).split()).rstrip(".")
        return f"{place} can't be used ({detail}): check storage.url and the AWS_* variables, then try again."


def _s3_client(attempts: int, connect_timeout: float, read_timeout: float) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # The newer default sends checksums in trailers, which many S3-compatible services don't know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        detail = str(error).rstrip(".")
        raise StoreError(
            f"S3 can't be used ({detail}): correct AWS_ENDPOINT_URL and the other AWS_* variables."
        ) from error


class _ETags(NamedTuple):
    found: str
    """The ETag that the service gave."""
    expected: str
    """The ETag that S3 gives to what was sent."""


def _etags(answer: dict[str, Any], expected: str) -> _ETags:
    return _ETags(str(answer.get("ETag", "")).strip('"'), expected)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()  # against damage, not malice


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _refuses_conditions(error: Exception) -> bool:
    """True if the service seems to take no conditional requests."""
    return _status(error) in (400, 501) and _code(error) not in ("BadDigest", "InvalidDigest")


def _code(error: Exception) -> str:
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _status(error: Exception) -> int:
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer(error: Exception) -> dict[str, Any]:
    return getattr(error, "response", None) or {}  # None in errors without an answer
