"""A store in a bucket of an S3-compatible service; boto3 is imported when the first one is opened."""

import base64
import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from scn.storage import (
    HIDDEN,
    PART_BYTES,
    ObjectNotFound,
    Store,
    StoreError,
    Token,
    check_key,
    check_prefix,
    digest_of,
    is_hidden,
    size_of,
)


class S3Store(Store):
    """A bucket of an S3-compatible service, or the part of it below a prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self._honoured: frozenset[str] | None = None
        self._client = _s3_client(attempts=5, connect_timeout=5, read_timeout=60)

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
                return self._send(place, data, condition)
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

    def _create(self, key: str, stream: IO[bytes]) -> bool:
        size, digest = size_of(stream), digest_of(stream)
        place = self._at(key) | {"Metadata": {"sha256": digest}}
        with self._s3_errors(key):
            if size <= PART_BYTES:
                if not self._send_new(place, stream.read()):
                    return False
            else:
                self._send_parts(place, stream)
        if (self._head(key) or {}).get("ContentLength") != size:
            raise StoreError(f"{self.url}/{key} is not there with the {size} bytes written: delete it and try again.")
        return True

    def _holds(self, key: str, stream: IO[bytes]) -> bool:
        head = self._head(key)
        if head is None:
            raise StoreError(f"{self.url}/{key} is being written by another process: try again.")
        if head["ContentLength"] != size_of(stream):
            return False
        digest = head.get("Metadata", {}).get("sha256")
        if digest is None:  # some services lose metadata
            with tempfile.TemporaryFile() as copy:
                self._read(key, copy)
                digest = digest_of(copy)
        return bool(digest == digest_of(stream))

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

    def _send(self, place: dict[str, Any], data: bytes, condition: dict[str, str]) -> bool:
        """One put_object; False if the service says that `condition` does not hold. Raises botocore's errors."""
        from botocore.exceptions import ClientError

        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        try:
            self._client.put_object(Body=data, ContentMD5=md5, **place, **condition)
            return True
        except ClientError as error:
            gone = "IfMatch" in condition and _code(error) == "NoSuchKey"
            if not condition or not (gone or _status(error) in (409, 412)):
                raise
            if error.response["ResponseMetadata"].get("RetryAttempts"):
                # The first attempt may have succeeded and only its answer been lost.
                with self._client.get_object(Bucket=place["Bucket"], Key=place["Key"])["Body"] as body:
                    return bool(body.read() == data)
            return False

    def _send_new(self, place: dict[str, Any], data: bytes) -> bool:
        from botocore.exceptions import ClientError

        try:
            return self._send(place, data, {"IfNoneMatch": "*"})
        except ClientError as error:
            if _status(error) not in (400, 501):
                raise
            return self._send(place, data, {})  # the service refuses the condition as such

    def _send_parts(self, place: dict[str, Any], stream: IO[bytes]) -> None:
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=8)
        metadata = place.pop("Metadata")
        self._client.upload_fileobj(stream, ExtraArgs={"Metadata": metadata}, Config=config, **place)

    def _honours(self) -> frozenset[str]:
        """The conditions that the service keeps: tried once, because several ignore them in silence."""
        from botocore.exceptions import ClientError

        if self._honoured is None:
            name = f"{HIDDEN}probe-{uuid.uuid4().hex}"
            place = {"Bucket": self._bucket, "Key": self._prefix + name}
            honoured: set[str] = set()
            with self._s3_errors(name):
                self._send(place, b"probe", {})
                for condition in ({"IfNoneMatch": "*"}, {"IfMatch": f'"{"0" * 32}"'}):
                    try:
                        if not self._send(place, b"probe", condition):
                            honoured |= condition.keys()
                    except ClientError as error:
                        if _status(error) not in (400, 501):
                            raise
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


def _code(error: Exception) -> str:
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _status(error: Exception) -> int:
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer(error: Exception) -> dict[str, Any]:
    return getattr(error, "response", None) or {}  # None in errors without an answer
