"""The stage takes the best checkpoint for the model; what can't be read is told, never replaced in silence."""

from collections.abc import Callable
from pathlib import Path

import pytest
from saved_runs import damage, one_sentence

from scn.config.params import Params
from scn.core.errors import UserError
from scn.inference.model_files import load_model
from scn.launch.stage import train_stage
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage import open_store
from scn.storage.base import StoreLacks
from scn.storage.local import FileStore
from scn.training.callbacks import Silent
from scn.training.loop import Run, train
from scn.training.world import World

Scores = dict[int, float | None]
Left = Callable[[Scores], Params]


@pytest.fixture
def left(project: Callable[..., Params]) -> Left:
    """Leaves a run whose 15 steps are done, with checkpoints of some steps and scores, for the stage to end."""

    def make(scores: Scores) -> Params:
        params = project("sr-x2", epochs=1, hold_epochs=0, take_best_every=5)
        run = Run(
            experiment=params.experiment("sr-x2"),
            manifest=training_manifest(params, "sr-x2"),
            evaluation=evaluation_manifest(params, "sr-x2"),
            store=open_store(params.storage.url, params.root),
            root=params.root,
        )
        train(run, World(), Silent(), lambda: "")
        found = run.checkpoints.load()
        assert found is not None
        assert found[0] == 15
        run.checkpoints.begin(anew=True)
        for step, score in scores.items():
            weights = {name: tensor.clone().fill_(step) for name, tensor in found[1]["network"].items()}
            run.checkpoints.save(step, {**found[1], "network": weights}, score)
            run.checkpoints.wait()
        return params

    return make


def files(params: Params, step: int) -> list[Path]:
    found = [path for place in (".scn", "store") for path in (params.root / place).rglob(f"runs/*/*/step-{step:08}-*")]
    assert len(found) == 2
    return found


def step_of_model(params: Params) -> int:
    network, config = load_model(params.root / "models" / "sr-x2")
    step = int(config["step"])
    biases = [tensor for name, tensor in network.state_dict().items() if name.endswith("bias")]
    assert biases  # the other weights are normalised
    assert all((tensor == step).all() for tensor in biases)
    return step


def test_the_best_is_taken(left: Left, capsys: pytest.CaptureFixture[str]) -> None:
    params = left({5: 40.0, 10: 30.0, 15: 20.0})
    here, _ = files(params, 5)
    damage(here)  # the store has it
    train_stage(params, "sr-x2", plain=True)
    assert step_of_model(params) == 5
    told = capsys.readouterr().err
    assert f"sr-x2: skips the damaged checkpoint {here}\n" in told
    assert "the model is that of" not in told


@pytest.mark.parametrize("deleted", [1, 2])
def test_a_run_that_is_killed_while_it_deletes_ends_with_the_best_all_the_same(
    left: Left, monkeypatch: pytest.MonkeyPatch, deleted: int
) -> None:
    params = left({5: 40.0, 10: 30.0, 15: 20.0})
    delete, calls = FileStore.delete, list[str]()

    def killed(self: FileStore, key: str) -> None:
        delete(self, key)
        calls.append(key)
        if sum(key.startswith("runs/") and "/step-" in key for key in calls) == deleted:
            raise StoreLacks("killed")

    with monkeypatch.context() as then:
        then.setattr(FileStore, "delete", killed)
        with pytest.raises(StoreLacks, match="killed"):
            train_stage(params, "sr-x2", plain=True)
    assert step_of_model(params) == 5
    train_stage(params, "sr-x2", plain=True)
    assert step_of_model(params) == 5
    assert open_store(params.storage.url, params.root).list("runs/") == []


def test_a_damaged_best_is_told_with_what_takes_its_place(left: Left, capsys: pytest.CaptureFixture[str]) -> None:
    params = left({5: 40.0, 10: 30.0, 15: 20.0})
    damaged = files(params, 5)
    for file in damaged:
        damage(file)
    train_stage(params, "sr-x2", plain=True)
    assert step_of_model(params) == 10
    told = capsys.readouterr().err
    assert all(f"sr-x2: skips the damaged checkpoint {place}" in told for place in (damaged[0], "file:"))
    assert (
        "sr-x2: the best checkpoint, of step 5 and 40.00 dB, is damaged: the model is that of step 10 and 30.00 dB, "
        "the best that can be read\n"
    ) in told


def test_if_no_validated_one_can_be_read_there_is_no_model(left: Left) -> None:
    params = left({5: 40.0, 10: 30.0, 15: None})
    kept = {file: file.read_bytes() for step in (5, 10) for file in files(params, step)}
    for file in kept:
        damage(file)
    with pytest.raises(
        UserError, match=r"^Every checkpoint of sr-x2 that was validated is damaged \(.*-30\.0\.pt\):"
    ) as e:
        train_stage(params, "sr-x2", plain=True)
    one_sentence(e)
    assert not (params.root / "models" / "sr-x2").exists()
    file = files(params, 5)[1]
    file.write_bytes(kept[file])  # brought back from a copy
    train_stage(params, "sr-x2", plain=True)
    assert step_of_model(params) == 5


def test_without_any_score_the_last_is_taken_and_that_is_told(left: Left, capsys: pytest.CaptureFixture[str]) -> None:
    params = left({10: None, 15: float("nan")})
    train_stage(params, "sr-x2", plain=True)
    assert step_of_model(params) == 15
    assert "sr-x2: no validation gave a number: the model is that of the last step\n" in capsys.readouterr().err
