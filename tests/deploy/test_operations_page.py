"""docs/operations.md: its commands, in its order, bring the services up."""

import os
import re
import shlex
import subprocess
import sys
import uuid

import boto3
import pytest

from tests.deploy.manifests import ROOT, compose

PAGE = (ROOT / "docs/operations.md").read_text()
COMPOSE = "docker compose -f deploy/compose.yaml "


def commands() -> list[list[str]]:
    """Every command of compose in the page's code, as a shell reads it."""
    code = re.sub(r"\\\n *", "", "".join(line for line in PAGE.splitlines(True) if line.startswith("    ")))
    return [
        shlex.split(words, comments=True) for words in re.findall(rf"^ +{COMPOSE}((?:'[^']*'|[^'\n])*)", code, re.M)
    ]


def test_the_bucket_is_made_before_what_ends_without_it() -> None:
    """By a container of the worker, which the image and the compose file let run another command."""
    services = compose()["services"]
    first, make, up, *_ = commands()
    assert first == ["up", "--detach", "--wait", "s3"]
    assert make[:6] == ["run", "--rm", "--no-deps", "worker", "python", "-c"]
    assert up == ["up", "--detach", "--wait"]
    assert "depends_on" not in services["s3"]
    assert "entrypoint" not in services["worker"]
    assert "ENTRYPOINT" not in (ROOT / "Dockerfile").read_text()
    steps = PAGE.split("\n3. ")[1].split("\n5. ")[0]
    assert steps.index("s3.create_bucket(") < steps.index("make the bucket") < steps.index("\n4. ")


def test_every_way_to_start_the_services_is_told() -> None:
    found = [*(ROOT / "deploy").glob("compose*.yaml"), *(ROOT / "deploy").glob("kubernetes*")]
    assert len(found) == 4
    for path in found:
        assert re.search(rf"deploy/{re.escape(path.name)}(?![\w.-]*\w)", PAGE), path.name
    assert "compose.gpu.yaml" in PAGE.split("\n## Upgrade\n")[1].split("\n## ")[0]


@pytest.mark.integration
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_the_bucket_is_made_in_every_region(s3_server: dict[str, str], region: str) -> None:
    """Outside us-east-1 a bucket is refused that names no region, and there one that names it."""
    (line,) = (words[-1] for words in commands() if "create_bucket" in words[-1])
    settings, name = {**s3_server, "AWS_DEFAULT_REGION": region}, f"bucket-{uuid.uuid4().hex}"
    words = [sys.executable, "-c", line.replace("BUCKET", name)]
    done = subprocess.run(words, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": region}
    client = boto3.client("s3", endpoint_url=s3_server["AWS_ENDPOINT_URL"], **keys)
    assert (client.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1") == region
