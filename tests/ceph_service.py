"""Ceph as an S3 service (a mon, an OSD in memory, RGW) on this machine, of Debian's packages: `make test-ceph`."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_HOST = "127.0.0.1"
_READY_SECONDS = 120.0
_CONFIGURATION = """[global]
fsid = {fsid}
mon_host = v1:{host}:{mon}
mon_initial_members = a
public_addr = {host}
cluster_addr = {host}
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = false
run_dir = {folder}
admin_socket = {folder}/$name.asok
pid_file =
log_file = {folder}/$name.log
crash_dir = {folder}/crash
mon_allow_pool_size_one = true
mon_data_avail_warn = 1
mon_data_avail_crit = 1
mon_data = {folder}/mon
mon_max_pg_per_osd = 2000
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint={host}:{rgw}
"""


def lacking() -> str:
    """Why there is no Ceph here; empty if there is."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    packages = "apt-get install ceph-mon ceph-osd radosgw ceph-common"
    return f"{missing[0]} is not installed: {packages}" if missing else ""


@contextmanager
def ceph(folder: Path) -> Iterator[dict[str, str]]:
    """Context manager that runs the service and gives the environment variables by which clients find it."""
    mon, rgw = _free_ports(2)
    fsid, configuration = str(uuid.uuid4()), folder / "ceph.conf"
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir(parents=True)
    configuration.write_text(_CONFIGURATION.format(fsid=fsid, host=_HOST, mon=mon, rgw=rgw, folder=folder))
    environment = {**os.environ, "CEPH_CONF": str(configuration), "NO_PROXY": _HOST}
    started: list[subprocess.Popen[bytes]] = []

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_READY_SECONDS)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-500:]}"
        return done.stdout

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("wb") as log:
            started.append(subprocess.Popen([*command, "-f"], env=environment, stdout=log, stderr=log))

    def wait(ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            ended = [str(process.args) for process in started if process.poll() is not None]
            assert not ended, f"{ended} ended: see {folder}"
            assert time.monotonic() < deadline, f"Ceph is not ready: see {folder}"
            time.sleep(0.2)

    try:
        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:{_HOST}:{mon}]", str(folder / "monmap"))
        run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(folder / "monmap"))
        start("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        run("ceph", "osd", "new", osd)
        run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        start("ceph-osd", "-i", "0")
        wait(lambda: " 1 up" in run("ceph", "osd", "stat"))
        start("radosgw", "-n", "client.rgw")
        wait(lambda: _answers(f"http://{_HOST}:{rgw}/"))
        keys = ("--access-key=test", "--secret-key=test")
        run("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test", *keys)
        reader = ("--subuser=test:reader", "--access=read", "--key-type=s3")
        keys = ("--access-key=reader", "--secret-key=reader")
        run("radosgw-admin", "-n", "client.rgw", "subuser", "create", "--uid=test", *reader, *keys)
        yield {
            "AWS_ENDPOINT_URL": f"http://{_HOST}:{rgw}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": _HOST,
        }
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((_HOST, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _answers(url: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
