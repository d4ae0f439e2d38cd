"""The cost of the stores: storing and fetching a file, beside copying the same bytes without any check.

    python -m benchmarks.transfer [--mib N]

The stores read back what they write or check its MD5, and name a file only when the disk has it. The S3 service is
moto, a service for tests, on this machine.
"""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.measure import Row, medians, parser, table, write_json
from benchmarks.s3_service import s3_service
from scn.storage import open_store
from scn.storage.base import PART_BYTES, Store

BUCKET = "transfer"


def transfer_rows(mib: int, runs: int) -> list[Row]:
    """Times storing and fetching `mib` MiB with both stores and by plain copies; returns a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.write_bytes(np.random.default_rng(0).bytes(mib * 2**20))
        return [*_file_rows(source, runs), *_s3_rows(source, runs)]


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0], runs=7)
    arguments.add_argument("--mib", type=int, default=128, metavar="N", help="MiB to transfer (default: %(default)s)")
    chosen = arguments.parse_args()
    rows = transfer_rows(chosen.mib, chosen.runs)
    title = f"{chosen.mib} MiB there and back"
    print(title, table(rows), sep="\n\n")
    write_json(chosen.json, title, rows)


def _file_rows(source: Path, runs: int) -> list[Row]:
    store = open_store("file://store", source.parent)
    there, back = source.with_name("there"), source.with_name("back")

    def copy(durable: bool) -> None:
        there.unlink(missing_ok=True)
        for place, origin in ((there, source), (back, there)):
            shutil.copyfile(origin, place)
            if durable:
                with place.open("rb") as file:
                    os.fsync(file.fileno())

    bare = {"bare copy, on the disk": partial(copy, True), "bare copy, in memory": partial(copy, False)}
    return _rows("file store", store, bare, source, runs)


def _s3_rows(source: Path, runs: int) -> list[Row]:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=8)
    # The store's settings: boto3's default is checksums in trailers, which many services don't know.
    without = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    with s3_service() as settings, mock.patch.dict(os.environ, settings):
        default, same = (boto3.session.Session().client("s3", config=config) for config in (None, without))
        default.create_bucket(Bucket=BUCKET)

        def copy(client: Any) -> None:
            client.delete_object(Bucket=BUCKET, Key="bare")
            client.upload_file(str(source), BUCKET, "bare", Config=parts)
            client.download_file(BUCKET, "bare", str(source.with_name("back")), Config=parts)

        bare = {"bare boto3, store's settings": partial(copy, same), "bare boto3, its defaults": partial(copy, default)}
        return _rows("S3 store", open_store(f"s3://{BUCKET}/prefix"), bare, source, runs)


def _rows(name: str, store: Store, bare: dict[str, partial[None]], source: Path, runs: int) -> list[Row]:
    def there_and_back() -> None:
        store.delete("object")
        store.put_file("object", source)
        store.get_file("object", source.with_name("copy"))

    timings = medians({name: there_and_back, **bare}, runs)
    megabytes = 2 * source.stat().st_size / 1e6
    return [
        {
            "transfer": transfer,
            "median_ms": timing.median * 1e3,
            "spread": timing.spread,
            "mb_per_s": megabytes / timing.median,
            "store_share": timing.over(timings[name]),
        }
        for transfer, timing in timings.items()
    ]


if __name__ == "__main__":
    main()
