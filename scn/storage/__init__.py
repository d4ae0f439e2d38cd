"""Stores of immutable objects and movable pointers: in a folder (local) or a bucket (s3), with one interface (base)."""

from pathlib import Path

from scn.core.errors import UserError
from scn.storage.base import Store
from scn.storage.local import FileStore


def open_store(url: str, root: Path | None = None) -> Store:
    """Opens the store at `file://folder` or `s3://bucket/prefix`.

    Endpoint, region and keys of S3 come from the standard AWS_* variables. Nothing is contacted or made yet:
    `Store.check` does that.

    Args:
        root: the folder that a relative `file://` URL starts from; None: the current one.
    Raises:
        UserError: if the URL has neither form.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file" and rest:
        return FileStore(((root or Path.cwd()) / Path(rest).expanduser()).resolve())
    bucket, _, prefix = rest.partition("/")
    if separator and scheme == "s3" and bucket:
        from scn.storage.s3 import S3Store  # imports boto3, which only a store on S3 needs

        return S3Store(bucket, prefix.strip("/"))
    raise UserError(f"'{url}' is no storage URL: write file://folder or s3://bucket/prefix.")
