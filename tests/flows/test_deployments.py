"""`deploy` at a server: what people have switched on its page."""

import datetime
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest
import yaml
from prefect import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from flows import deployments
from flows.deployments import POOL, deploy
from scn.core.errors import UserError
from tests.flows.conftest import PARAMS

WEEKLY = {"cron": "0 2 * * 0", "timezone": "UTC", "active": False}


def write(project: Path, *schedules: dict[str, Any]) -> None:
    about = {"work_pool": {"name": POOL}} | ({"schedules": list(schedules)} if schedules else {})
    flow = {**about, "name": "weekly", "entrypoint": "flows.retrain.retrain"}
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}]
    (project / "prefect.yaml").write_text(yaml.safe_dump({"name": "scn", "pull": pull, "deployments": [flow]}))


def schedules(client: Any) -> list[tuple[str, bool]]:
    there = client.read_deployment_by_name("retrain/weekly").schedules
    return [(each.schedule.cron, each.active) for each in there]


@pytest.mark.integration
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.filterwarnings("default")
def test_what_is_switched_on_the_page_stays_until_prefect_yaml_says_another_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.schemas.actions import WorkPoolUpdate

    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
    (tmp_path / "params.yaml").write_text(PARAMS)
    write(tmp_path, WEEKLY)
    deploy(tmp_path)
    with get_client(sync_client=True) as client:
        assert schedules(client) == [("0 2 * * 0", False)]
        made = client.read_deployment_by_name("retrain/weekly")
        client.update_deployment_schedule(made.id, made.schedules[0].id, active=True)
        client.pause_deployment(made.id)
        client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))

        deploy(tmp_path)
        assert schedules(client) == [("0 2 * * 0", True)]
        assert client.read_deployment_by_name("retrain/weekly").paused
        assert client.read_work_pool(POOL).is_paused

        write(tmp_path, {**WEEKLY, "cron": "0 3 * * 0"})
        deploy(tmp_path)
        assert schedules(client) == [("0 3 * * 0", False)]

        write(tmp_path)
        deploy(tmp_path)
        assert schedules(client) == []


@pytest.mark.integration
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.filterwarnings("default")
def test_two_workers_may_begin_at_once_at_a_new_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
    (tmp_path / "params.yaml").write_text(PARAMS)
    write(tmp_path, WEEKLY)
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        client.delete_work_pool(POOL)
    looked, look = Barrier(2, timeout=120), deployments._as_on_the_page

    def together(found: Any) -> Any:
        seen = look(found)
        looked.wait()
        return seen

    monkeypatch.setattr(deployments, "_as_on_the_page", together)
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(deploy, [tmp_path] * 2))
    with get_client(sync_client=True) as client:
        assert client.read_work_pool(POOL).base_job_template["variables"]  # as `prefect work-pool create` fills it
        assert schedules(client) == [("0 2 * * 0", False)]


def test_prefect_takes_what_is_noted_of_a_hundred_deployments_and_of_dates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.schemas.actions import VariableCreate

    daily = {"interval": 86400, "anchor_date": datetime.date(2024, 1, 1)}  # as YAML reads it where it isn't quoted
    flows = [
        {"name": f"weekly-{number}", "entrypoint": "flows.retrain.retrain", "schedules": [daily, WEEKLY]}
        for number in range(100)
    ]
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump({"deployments": flows}))
    noted = {}
    monkeypatch.setattr("flows.deployments._as_on_the_page", lambda found: found)
    for name in ("_prefect", "_watch_for_dead_runs"):
        monkeypatch.setattr(f"flows.deployments.{name}", lambda *_: None)
    monkeypatch.setattr("prefect.variables.Variable.set", lambda name, value, **_: noted.update({name: value}))
    deploy(tmp_path)
    ((name, value),) = noted.items()
    VariableCreate(name=name, value=value)
    assert len(value) == 100


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise httpx.ConnectError("[Errno 111] Connection refused")

    monkeypatch.setattr("prefect.variables.Variable.get", away)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    (tmp_path / "params.yaml").write_text(PARAMS)
    write(tmp_path, WEEKLY)
    with pytest.raises(
        UserError, match=r"^Prefect's server at http://127\.0\.0\.1:9/api can't be asked \(\[Errno 111\] "
    ):
        deploy(tmp_path)
