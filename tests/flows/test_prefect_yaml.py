"""prefect.yaml names every experiment once, and nothing of a machine."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
EXPERIMENTS = list(yaml.safe_load((ROOT / "params.yaml").read_text())["experiments"])


def test_there_is_one_deployment_for_every_experiment() -> None:
    assert [d["name"] for d in DOCUMENT["deployments"]] == [f"train-{name}" for name in EXPERIMENTS]
    assert [d["parameters"] for d in DOCUMENT["deployments"]] == [{"experiment": name} for name in EXPERIMENTS]


def test_they_share_everything_else() -> None:
    common = DOCUMENT["definitions"]["common"]
    for deployment in DOCUMENT["deployments"]:
        assert {key: deployment[key] for key in deployment if key not in ("name", "parameters")} == common


def test_schedules_are_one_switch_away() -> None:
    assert [schedule["active"] for schedule in DOCUMENT["definitions"]["common"]["schedules"]] == [False]


def test_the_entrypoint_is_the_flow_that_the_deployments_are_called_after() -> None:
    from prefect.flows import load_flow_from_entrypoint

    assert load_flow_from_entrypoint(DOCUMENT["definitions"]["common"]["entrypoint"]).name == "scn"


def test_no_path_of_a_machine_is_in_it() -> None:
    [step] = DOCUMENT["pull"]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}
