"""prefect.yaml: every flow once, every experiment by itself, and nothing of a machine."""

import inspect
from pathlib import Path

import pytest
import yaml

from flows.deployments import expanded

ROOT = Path(__file__).parents[2]
EXPERIMENTS = list(yaml.safe_load((ROOT / "params.yaml").read_text())["experiments"])
WRITTEN = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DOCUMENT = expanded(WRITTEN, EXPERIMENTS)


def test_there_is_one_deployment_for_every_experiment() -> None:
    training = [each for each in DOCUMENT["deployments"] if each["name"].startswith("train-")]
    assert [each["name"] for each in training] == [f"train-{name}" for name in EXPERIMENTS]
    assert [each["parameters"] for each in training] == [{"experiment": name} for name in EXPERIMENTS]
    assert "EXPERIMENT" not in yaml.safe_dump(DOCUMENT)


def test_all_else_is_as_it_is_written() -> None:
    others = [each for each in WRITTEN["deployments"] if "parameters" not in each]
    assert [each for each in DOCUMENT["deployments"] if "parameters" not in each] == others
    assert {key: DOCUMENT[key] for key in WRITTEN if key != "deployments"} == {
        key: WRITTEN[key] for key in WRITTEN if key != "deployments"
    }


def test_schedules_are_one_switch_away() -> None:
    scheduled = [each for each in DOCUMENT["deployments"] if "schedules" in each]
    assert [each["entrypoint"].rpartition(".")[2] for each in scheduled] == ["retrain", "collect"]
    assert [schedule["active"] for each in scheduled for schedule in each["schedules"]] == [False, False]


def test_what_deletes_only_while_nothing_is_at_work_is_not_due_with_a_retraining() -> None:
    crons = [schedule["cron"] for each in DOCUMENT["deployments"] for schedule in each.get("schedules", [])]
    assert len(crons) == len(set(crons)) == 2


@pytest.mark.parametrize("entrypoint", sorted({each["entrypoint"] for each in WRITTEN["deployments"]}))
def test_an_entrypoint_is_a_flow_whose_parameters_are_typed_and_described(entrypoint: str) -> None:
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint(entrypoint)
    assert flow.name == entrypoint.rpartition(".")[2].replace("_", "-")
    properties = flow.parameters.properties
    assert list(properties) == list(inspect.signature(flow.fn).parameters)
    assert all(each.get("description") for each in properties.values())
    assert all("type" in each or "anyOf" in each for each in properties.values())


def test_no_path_of_a_machine_is_in_it() -> None:
    [step] = DOCUMENT["pull"]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}
