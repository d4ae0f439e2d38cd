"""deploy/worker.sh: a machine brings the project, takes a flow run, and trains on the cluster what it publishes."""

import shutil
from pathlib import Path

import pytest
import yaml
from clusters import ROOT, Cluster
from commands import Command
from machines import Machine
from services import BUCKET
from workspace import TINY

from flows.environment import QUIET
from tests.flows.conftest import commit_all, run

AUTH = "prefect:word"


def repository(folder: Path) -> Path:
    """A git repository of this project, its code changed by a comment, with the smallest of settings."""
    for name in run(ROOT, "git", "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    with (folder / "scn/core/errors.py").open("a") as code:
        code.write("# not on the nodes\n")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for section, values in TINY.items():
        params[section] |= values
    params["storage"]["url"] = f"s3://{BUCKET}/deployed"
    params["run"]["workers"] = 2
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run(folder, "git", "init", "--quiet", "--initial-branch", "main")
    commit_all(folder)
    return folder


@pytest.mark.cluster
@pytest.mark.timeout(3600)
def test_a_flow_run_trains_its_commit_on_the_cluster(
    cluster: Cluster, machines: dict[str, Machine], tmp_path: Path
) -> None:
    cluster.start("node1", "node2")
    service, taker = machines["s3"], machines["alone"]
    variables = {**QUIET, "PREFECT_HOME": str(taker.seen / "prefect"), "PREFECT_SERVER_API_AUTH_STRING": AUTH}
    prefect = Command(service, ["prefect", "server", "start", "--host", "0.0.0.0", "--port", "4200"], variables)
    variables = {**cluster.variables, **QUIET, "RAY_ADDRESS": cluster.address}
    variables |= {"PREFECT_API_URL": f"http://{service.address}:4200/api", "PREFECT_API_AUTH_STRING": AUTH}
    variables |= {"PREFECT_HOME": str(taker.seen / "prefect"), "SCN_PROJECT": str(taker.seen / "deployed")}
    variables |= {"SCN_REPOSITORY": str(repository(tmp_path / "repository"))}
    with prefect, Command(taker, ["sh", ROOT / "deploy/worker.sh"], variables) as worker:
        try:
            worker.wait_for(lambda: "started!" in worker.printed)
            words = ["prefect", "deployment", "run", "scn/train-sr-x2", "--watch"]
            with Command(taker, words, variables) as flow:
                worker.wait_for(lambda: not flow.running, 600)
            assert "'Completed'" in flow.printed, worker.printed
            assert "trains on 2 x CPU" in worker.printed
            with Command(taker, ["scn", "models", "list"], variables, "deployed") as listed:
                listed.end()
            assert "sr-x2" in listed.printed
        finally:
            taker.clear()
