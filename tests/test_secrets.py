"""Secrets that are planted are in no message about a service, in nothing that a run leaves, and not in the image."""

import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import boto3
import pytest
from workspace import ROOT, Workspace

from benchmarks.s3_service import s3_service

SECRET = "planted-0b5e55ed"
PLANTED = {
    "AWS_SECRET_ACCESS_KEY": f"{SECRET}-aws",
    "PREFECT_API_KEY": f"{SECRET}-prefect",
    "PREFECT_API_AUTH_STRING": f"prefect:{SECRET}-auth",
    "RAY_AUTH_TOKEN": f"{SECRET}-ray",
    "HTTPS_PROXY": f"http://me:{SECRET}-proxy@127.0.0.1:9",
}
UNTRACKED = (".dvc/config.local", "deploy/.env", ".scn/s3/s3.json", ".scn/prefect/server.log", "listings/x", "models/x")
"""Files of a project in which a secret may lie."""


def test_a_message_about_a_service_does_not_tell_the_password_in_its_url(tmp_path: Path) -> None:
    project = Workspace(tmp_path)
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    project.replace({"storage": {"url": "s3://bucket/store"}})
    project.environment |= PLANTED | {
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": f"http://me:{SECRET}@127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    done = project.run("scn", "store", "check", check=False)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr, done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_the_image_is_built_of_nothing_that_may_have_a_secret(tmp_path: Path) -> None:
    """`make image` sends what `git archive` gives after all that git does not ignore was committed."""
    project = Workspace(tmp_path / "project").fill()
    for name in UNTRACKED:
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    project.commit()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=project.root, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        sent = {member.name: files.extractfile(member) for member in files if member.isfile()}
        assert "Dockerfile" in sent
        assert [name for name, file in sent.items() if file and SECRET.encode() in file.read()] == []


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray writes its logs; the paths of its sockets must be short."""
    with tempfile.TemporaryDirectory(prefix="scn-") as folder:
        yield Path(folder)


def left_in(folder: Path, words: bytes) -> set[str]:
    """The files below a folder, and `git` for an object of a repository there, that hold these words."""
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and words in path.read_bytes()
    }
    for repository in folder.rglob(".git"):
        objects = ["git", "-C", str(repository.parent), "cat-file", "--batch", "--batch-all-objects"]
        if words in subprocess.run(objects, capture_output=True, check=True).stdout:
            found.add("git")
    return found


@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_a_run_leaves_no_secret_of_its_environment(tmp_path: Path, ray_folder: Path) -> None:
    """Logs, artifacts, params, cards, dvc.lock, Prefect's database, the store, DVC's cache and remote, Ray's logs."""
    project = Workspace(tmp_path / "project").fill()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with s3_service() as variables:
        project.environment |= variables | PLANTED
        project.environment |= {"RAY_TMPDIR": str(ray_folder), "PREFECT_PORT": str(port)}
        project.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        project.environment["NO_PROXY"] = "127.0.0.1,localhost"
        project.environment.pop("PREFECT_API_AUTH_STRING")  # the server of this machine asks for none
        client = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key=PLANTED["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket="bucket")
        project.replace({"storage": {"url": "s3://bucket/store"}})
        project.commit()
        printed = [project.run("python", "-m", "flows.services", "up").stdout]
        try:
            done = project.run("prefect", "deployment", "run", "scn/train-sr-x2", "--watch", check=False)
            printed += [done.stdout, done.stderr]
        finally:
            project.run("python", "-m", "flows.services", "down")
        assert "finished successfully in 'Completed'" in done.stdout, done.stdout + done.stderr
        stored = tmp_path / "stored"
        for entry in client.list_objects_v2(Bucket="bucket")["Contents"]:
            path = stored / entry["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file("bucket", entry["Key"], str(path))
        log = (project.root / ".scn/prefect/worker.log").read_text()
    assert (stored / "store/registry/sr-x2/v1/README.md").is_file(), log
    database = ".scn/prefect/home/prefect.db"
    assert {"git", database, ".scn/prefect/worker.log"} <= left_in(project.root, b"sr-x2")  # what is looked into
    assert left_in(ray_folder, b"raylet")
    for folder in (project.root, stored, ray_folder):
        assert left_in(folder, SECRET.encode()) == set(), folder
    assert not any(SECRET in text for text in printed)
