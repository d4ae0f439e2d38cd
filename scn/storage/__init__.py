"""The store: immutable objects and movable pointers, in a folder (local) or a bucket (s3), by one interface (base)."""

from pathlib import Path

from scn.core.errors import UserError
from scn.storage.base import Store
from scn.storage.local import FileStore


def open_store(url: str, root: Path | None = None) -> Store:
    """The store at `file://folder` (relative to `root`, by default the current folder) or `s3://bucket/prefix`.

    Endpoint, region and keys of S3 come from the standard AWS_* variables. Nothing is contacted or made yet:
    `Store.check` does that. UserError if the URL has neither form.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file" and rest:
        return FileStore(((root or Path.cwd()) / Path(rest).expanduser()).resolve())
    bucket, _, prefix = rest.partition("/")
    if separator and scheme == "s3" and bucket:
        from scn.storage.s3 import S3Store  # boto3 is imported with the first one

        return S3Store(bucket, prefix.strip("/"))
    raise UserError(f"'{url}' is no storage URL: write file://folder or s3://bucket/prefix.")
