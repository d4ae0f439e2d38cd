"""Prometheus is told when each flow was last completed; an alert of deploy/prometheus reads it."""

from pathlib import Path

import pytest
import yaml
from httpx import ConnectError

from flows.metrics import ANSWERS, NAME, LastCompleted, main


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.filterwarnings("default")
def test_the_last_completed_run_of_each_flow_counts() -> None:
    from prefect import flow, get_client
    from prefect.states import Completed, Failed

    @flow(name="told")
    def told(well: bool) -> object:
        return Completed() if well else Failed(message="broken")

    @flow(name="never")
    def never() -> object:
        return Failed(message="broken")

    ids = [told(well, return_state=True).state_details.flow_run_id for well in (True, True, False)]
    never(return_state=True)
    with get_client(sync_client=True) as client:
        ended = client.read_flow_run(ids[1]).end_time
    assert ended is not None
    answers, family = LastCompleted().collect()
    assert [sample.value for sample in answers.samples] == [1]
    found = {sample.labels["flow"]: sample.value for sample in family.samples}
    assert found["told"] == pytest.approx(ended.timestamp())
    assert "never" not in found


@pytest.mark.parametrize("error", [ConnectError("refused"), RuntimeError("Failed to reach API")])
def test_a_server_that_is_away_is_told_and_no_failed_scrape(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refused(**_: object) -> None:
        raise error

    monkeypatch.setattr("prefect.get_client", refused)
    [answers] = LastCompleted().collect()
    assert [(sample.name, sample.value) for sample in answers.samples] == [(ANSWERS, 0)]


def test_the_alert_reads_what_is_told() -> None:
    rules = yaml.safe_load((Path(__file__).parents[2] / "deploy/prometheus/alerts.yaml").read_text())
    expressions = {rule["alert"]: rule["expr"] for rule in rules["groups"][0]["rules"]}
    assert f'{NAME}{{flow="retrain"}}' in expressions["NoRetraining"]
    assert f'{NAME}{{flow="retrain"}}' in expressions["NoRetrainingEver"]
    assert f"{ANSWERS} == 0" in expressions["PrefectAway"]


def test_without_a_server_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("flows: PREFECT_API_URL is not set: ")
