"""Runs an S3 service (moto) on this machine for benchmarks and tests; its objects are lost when it stops."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scn.core.errors import UserError
from scn.core.loopback import no_proxy, opener


@contextmanager
def s3_service(moody: Path | None = None) -> Iterator[dict[str, str]]:
    """Context manager that runs the service and gives the environment variables by which clients find it.

    The service has no bucket yet.

    Args:
        moody: folder in which benchmarks.unsteady_s3 finds its mood; None: a service that does what it should.
    Raises:
        UserError: if the service does not start.
    """
    from benchmarks import unsteady_s3  # and with it moto, which most benchmarks and tests do without

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryFile() as log:
        folder = moody or Path(own)
        unsteady_s3.set_mood(folder, unsteady_s3.STEADY)
        command = [sys.executable, unsteady_s3.__file__, str(port), str(folder), "127.0.0.1"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            if not _answers(f"{url}/moto-api/", server):
                log.seek(0)
                words = " ".join(log.read().decode(errors="replace").split())[-300:]
                raise UserError(f"moto's S3 service did not start ({words}): install the extra [dev].")
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                **no_proxy(),
            }
        finally:
            server.terminate()
            server.wait()


def _answers(url: str, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 300
    while server.poll() is None and time.monotonic() < deadline:
        try:
            opener().open(url, timeout=5).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False
