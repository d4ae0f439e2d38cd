"""Secrets that are planted are in no message about a service, and not in the image.

That a run leaves none: tests/flows/test_prefect_server.py.
"""

import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from planted import PLANTED, SECRET
from workspace import ROOT, Workspace

UNTRACKED = (".dvc/config.local", "deploy/.env", ".scn/s3/s3.json", ".scn/prefect/password", "listings/x", "models/x")
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
