"""What a store on S3 needs of boto3: its client, one conditional put, and its errors as sentences."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import IO, Any, NamedTuple

from scn.storage.base import BLOCK_BYTES, StoreBusy, StoreError, StoreLacks, StoreRefuses

_DAMAGED = {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
"""Codes by which services say that a body is not the one whose hash was sent with it."""
_ARCHIVED = "InvalidObjectState"
"""Code of an object that can't be read, as it was moved into an archive: no keys help, and no waiting."""
_BUSY = (429, 500, 502, 503, 504)
"""Statuses of a service that can't answer now."""
_SKEW_SECONDS = 240.0  # S3 allows 15 minutes, others 5


def s3_client(attempts: int, connect_timeout: float, read_timeout: float) -> Any:
    """A boto3 client for S3; raises StoreError if the AWS_* variables make none."""
    import boto3  # noqa: F401 - first, as that is what has to be installed where there is none
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
        return s3_session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        detail = str(error).rstrip(".")
        raise StoreError(
            f"S3 can't be used ({detail}): correct AWS_ENDPOINT_URL and the other AWS_* variables."
        ) from error


def s3_session() -> Any:
    """A boto3 session of the AWS_* variables as they are now. Only what describes the services is shared by all."""
    import boto3
    import botocore.session

    session = botocore.session.get_session()
    session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    return boto3.session.Session(botocore_session=session)


@cache
def _descriptions(data_path: str | None) -> Any:
    """The descriptions of services by which botocore makes clients: each session would read them again, for 0.1 s."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


class ETags(NamedTuple):
    """The ETag of an object that was written."""

    found: str
    """The one that the service gave, without quotes; "" if it gave none."""
    expected: str
    """The one that S3 gives to what was sent."""


def etags(answer: dict[str, Any], expected: str) -> ETags:
    """The ETag in the answer of a service, beside the expected one."""
    return ETags(str(answer.get("ETag") or "").strip('"'), expected)


def put(
    client: Any, place: dict[str, Any], body: bytes | IO[bytes], condition: dict[str, str], md5: bytes = b""
) -> ETags | None:
    """One put_object, whose body the service compares with its MD5.

    Args:
        condition: IfNoneMatch or IfMatch, or nothing.
        md5: MD5 of the body; only needed for a file.
    Returns:
        None if the service says that the condition does not hold.
    Raises:
        ClientError, BotoCoreError: as boto3 does.
    """
    from botocore.exceptions import ClientError

    md5 = md5_of([body]) if isinstance(body, bytes) else md5
    try:
        return etags(client.put_object(Body=body, ContentMD5=in_base64(md5), **place, **condition), md5.hex())
    except ClientError as error:
        gone = "IfMatch" in condition and code_of(error) == "NoSuchKey"
        if not condition or not (gone or status_of(error) in (409, 412)):
            raise
        if error.response["ResponseMetadata"].get("RetryAttempts"):
            # The first attempt may have succeeded and only its answer been lost.
            try:
                answer = client.get_object(Bucket=place["Bucket"], Key=place["Key"])
            except ClientError as missing:
                if code_of(missing) == "NoSuchKey":
                    return None
                raise
            with closing(answer["Body"]) as found:
                same = md5_of(iter(lambda: found.read(BLOCK_BYTES), b"")) == md5
                return etags(answer, md5.hex()) if same else None
        return None


@contextmanager
def s3_errors(client: Any, bucket: str, place: str, missing: StoreError | None = None) -> Iterator[None]:
    """Turns what boto3 raises into a StoreError of one sentence.

    Args:
        place: URL of what is asked for.
        missing: is raised if there is no object of the key that is asked for.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError, ResponseStreamingError
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error, RetriesExceededError) as error:
        if missing and code_of(error) in ("404", "NoSuchKey"):
            raise missing from None
        # A body that was cut off comes from the right service, as 503 does.
        busy = status_of(error) in _BUSY or isinstance(error, IncompleteReadError | ResponseStreamingError)
        kind = StoreRefuses if _refuses(error) else StoreBusy if busy else StoreError
        if code_of(error) == _ARCHIVED:
            kind = StoreLacks
        raise kind(_sentence(error, client.meta.endpoint_url, f"s3://{bucket}", place)) from error


def _refuses(error: Exception) -> bool:
    from botocore import exceptions as boto

    none = boto.NoCredentialsError | boto.PartialCredentialsError
    codes = ("404", "NoSuchBucket", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed")
    return isinstance(error, none) or status_of(error) in (401, 403) or code_of(error) in codes


def _sentence(error: Exception, service: str, bucket: str, place: str) -> str:
    from botocore import exceptions as boto

    code = code_of(error)
    if code in ("404", "NoSuchBucket"):
        return f"{bucket} does not exist at {service}: create it (`aws s3 mb {bucket}`) or correct storage.url."
    if code in _DAMAGED:
        return f"{place} was damaged on its way to {service} ({code}): try again, and check the network if it recurs."
    if code == _ARCHIVED:
        return f"{place} lies in an archive of {service} ({code}): bring it back with `aws s3api restore-object`."
    refused = status_of(error) in (401, 403)
    if code == "RequestTimeTooSkewed" or (refused and abs(_skew(error)) > _SKEW_SECONDS):
        now = datetime.now(UTC).strftime("%H:%M")
        return f"{service} refused access, as the clock of this machine ({now} UTC) and its own differ: set the clock."
    if refused or code in ("ExpiredToken", "InvalidToken"):
        return f"{service} refused access to {place} ({code}): check the AWS_* keys and what they may do."
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return f"No credentials for {place}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    if isinstance(error, boto.IncompleteReadError | boto.ResponseStreamingError):
        return f"The answer of {service} for {place} was cut off: try again, and check the network if it recurs."
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError):
        kind = type(error).__name__
        return f"No answer from {service} for {place} ({kind}): start the service or correct AWS_ENDPOINT_URL."
    detail = " ".join(str(error).split()).rstrip(".")
    return f"{place} can't be used ({detail}): check storage.url and the AWS_* variables, then try again."


def _skew(error: Exception) -> float:
    """Seconds by which the service's clock is ahead of this machine's; 0 if it did not tell."""
    date = _answer(error).get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def not_implemented(error: Exception) -> bool:
    """True if the service says that it does not know what it was asked for; nothing else lets a condition be left."""
    return status_of(error) == 501 or code_of(error) == "NotImplemented"


def code_of(error: Exception) -> str:
    """The service's word for an error; "" without an answer."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """The HTTP status of an error; 0 without an answer."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer(error: Exception) -> dict[str, Any]:
    return getattr(error, "response", None) or {}  # None in errors without an answer


def md5_of(blocks: Iterable[bytes]) -> bytes:
    """MD5 of the blocks together, against damage, not malice."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        digest.update(block)
    return digest.digest()


def in_base64(digest: bytes) -> str:
    """A digest as headers carry it."""
    return base64.b64encode(digest).decode()
