"""The stage train@E: checkpoints and weights that it goes on from, and messages about earlier runs."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from saved_runs import damage

import scn.cli
from data_prep.cli import main as data_prep
from scn.config.params import Params
from scn.core.errors import Stopped, UserError
from scn.core.hashing import file_sha256
from scn.inference.model_config import WEIGHTS, ancestors_of
from scn.inference.model_files import load_model
from scn.launch.stage import train_stage
from scn.shards.manifest import training_manifest
from scn.storage import open_store
from scn.storage.base import StoreError
from scn.storage.lease import Lease, LeaseLost
from scn.storage.local import FileStore

Project = Callable[..., Params]


def stop(params: Params) -> None:
    """Leaves a run that stopped after its first step."""
    with pytest.raises(Stopped, match=r"sr-x2: stopped after step 1 of \d+ \(0 minutes are over\); the same command"):
        train_stage(params, "sr-x2", plain=True, minutes=0)


def checkpoints(params: Params) -> list[Path]:
    return sorted(path for folder in (".scn/runs", "store/runs") for path in (params.root / folder).rglob("step-*.pt"))


def test_resume_insists_on_a_run(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    with pytest.raises(UserError, match="sr-x2 has no unfinished run of this configuration to go on with: leave"):
        train_stage(params, "sr-x2", plain=True, resume=True)
    stop(params)
    train_stage(params, "sr-x2", plain=True, resume=True)
    assert "goes on from step 1 of 15" in capsys.readouterr().out


def test_a_run_of_another_configuration_is_told_with_what_differs(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    stop(project("sr-x2", epochs=1, hold_epochs=0))
    other = project("sr-x2", epochs=1, hold_epochs=0, max_grad_norm=0.5)
    with pytest.raises(
        UserError, match=r"after step 1: train\.max_grad_norm is null there, 0\.5 here\): leave --resume out"
    ):
        train_stage(other, "sr-x2", plain=True, resume=True)
    stop(other)
    assert (
        "starts a new run, as there is no unfinished one of this configuration (another run stopped"
        in capsys.readouterr().out
    )


def test_a_run_of_other_code_goes_on_only_when_told_to(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    with monkeypatch.context() as before:
        before.setattr("scn.training.identity.training_code", lambda experiment: "c" * 64)
        stop(params)
    stop(params)
    told = capsys.readouterr().out
    assert "starts a new run" in told
    assert "--resume-anyway" in told
    train_stage(params, "sr-x2", plain=True, resume=False, minutes=None)
    with monkeypatch.context() as before:
        before.setattr("scn.training.identity.training_code", lambda experiment: "c" * 64)
        with pytest.raises(Stopped):
            train_stage(params, "sr-x2", plain=True, minutes=0)

    capsys.readouterr()
    train_stage(params, "sr-x2", plain=True, resume_anyway=True)
    assert re.search(r"goes on from step \d+ of a run by other code, as asked; its card", capsys.readouterr().out)
    config = load_model(params.root / "models" / "sr-x2")[1]
    first, second = config["made_by"]
    assert (first["step"], first["code_sha256"]) == (0, "c" * 64)
    assert second["step"] > 0
    assert second["code_sha256"] == config["identity"]["code_sha256"] != "c" * 64
    assert config["seconds"] >= 0
    assert config["machine"].endswith("CPUs")


def test_a_model_names_the_machines_that_trained_it_not_the_one_that_wrote_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    monkeypatch.setattr("scn.training.loop.machine", lambda: "one, 2 CPUs")
    stop(params)
    monkeypatch.setattr("scn.training.loop.machine", lambda: "another, 3 CPUs")
    train_stage(params, "sr-x2", plain=True)
    assert load_model(params.root / "models" / "sr-x2")[1]["machine"] == "one, 2 CPUs and another, 3 CPUs"


def test_no_resume_starts_anew(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    stop(params)
    before = checkpoints(params)
    assert len(before) == 2
    train_stage(params, "sr-x2", plain=True, resume=False)
    assert "goes on" not in capsys.readouterr().out
    assert not checkpoints(params)


def test_damaged_checkpoints_are_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    stop(params)
    here, there = checkpoints(params)
    damage(here)
    capsys.readouterr()
    with pytest.raises(Stopped):
        train_stage(params, "sr-x2", plain=True, minutes=0)
    told = capsys.readouterr()
    assert "goes on from step 1 of 15" in told.out
    assert f"sr-x2: skips the damaged checkpoint {here}" in told.err
    for file in checkpoints(params):
        damage(file)
    with pytest.raises(UserError, match=r"Every checkpoint of the run is damaged .*--no-resume"):
        train_stage(params, "sr-x2", plain=True)
    assert there.exists()


def test_a_folder_that_can_not_be_written_is_told_at_the_start(project: Project) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    (params.root / ".scn").mkdir(exist_ok=True)
    (params.root / ".scn" / "runs").write_text("in the way")
    with pytest.raises(UserError, match=r"\.scn/runs, the folder for checkpoints, can't be written"):
        train_stage(params, "sr-x2", plain=True)


def test_a_run_starts_from_the_weights_of_another(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = project("sr-x2", epochs=2)
    train_stage(params, "sr-x2", plain=True)
    first, config = load_model(params.root / "models" / "sr-x2")
    kept = params.root / "kept"
    (params.root / "models" / "sr-x2").rename(kept)
    assert (config["start_from"], config["identity"]["start_from"]) == (None, None)

    again = project("sr-x2", epochs=1, hold_epochs=0, learning_rate=1e-12, start_from=str(kept))
    train_stage(again, "sr-x2", plain=True)
    count = len(first.state_dict())
    assert f"sr-x2: starts from {kept}: {count} of its {count} tensors fit" in capsys.readouterr().out
    second, config = load_model(params.root / "models" / "sr-x2")
    for name, tensor in second.state_dict().items():
        assert tensor.sub(first.state_dict()[name]).abs().max() < 1e-5, name
    assert (config["start_from"], config["identity"]["start_from"]) == (str(kept), file_sha256(kept / WEIGHTS))
    about = {"name": str(kept), "weights_sha256": file_sha256(kept / WEIGHTS)}
    assert config["ancestors"] == [{**about, "training_corpora": config["training_corpora"]}]
    third = ancestors_of(again.root / "models" / "sr-x2", "sr-x2", "f" * 64)
    assert [each["weights_sha256"] for each in third] == ["f" * 64, file_sha256(kept / WEIGHTS)]
    assert open_store(again.storage.url, again.root).list("runs/") == []


def test_the_weights_that_a_run_starts_from_may_be_the_best(project: Project) -> None:
    train_stage(project("sr-x2", epochs=2), "sr-x2", plain=True)
    params = project("sr-x2")
    kept = params.root / "kept"
    (params.root / "models" / "sr-x2").rename(kept)
    spoils = {"learning_rate": 0.5, "take_best_every": 5, "start_from": str(kept)}
    train_stage(project("sr-x2", epochs=1, hold_epochs=0, **spoils), "sr-x2", plain=True)
    first, second = (load_model(folder)[0].state_dict() for folder in (kept, params.root / "models" / "sr-x2"))
    for name, tensor in second.items():
        torch.testing.assert_close(tensor, first[name], atol=1e-5, rtol=0)
    assert load_model(params.root / "models" / "sr-x2")[1]["step"] == 0


def test_weights_to_start_from_that_are_damaged_are_told(project: Project) -> None:
    kept = project("sr-x2").root / "kept"
    kept.mkdir()
    (kept / WEIGHTS).write_bytes(b"no tensors")
    params = project("sr-x2", epochs=1, hold_epochs=0, start_from=str(kept))
    with pytest.raises(UserError, match=r"^start_from of sr-x2: \S+ is damaged \(.*\): fetch or train it again\.$"):
        train_stage(params, "sr-x2", plain=True)


def test_what_the_store_has_no_more_leaves_this_machine_when_a_run_ends(project: Project) -> None:
    recipes = [{"epochs": 1, "hold_epochs": 0, "max_grad_norm": norm} for norm in (0.5, 0.75, None)]
    for recipe in recipes[:2]:
        stop(params := project("sr-x2", **recipe))
    gone, left = sorted((params.root / ".scn" / "runs" / "sr-x2").iterdir())
    shutil.rmtree(params.root / "store" / "runs" / "sr-x2" / gone.name)
    train_stage(project("sr-x2", **recipes[2]), "sr-x2", plain=True)
    assert [path.parent.name for path in checkpoints(params)] == [left.name] * 2
    assert not gone.exists()


def test_two_runs_of_an_experiment_share_no_start_weights(project: Project) -> None:
    train_stage(project("sr-x2", epochs=1, hold_epochs=0), "sr-x2", plain=True)
    params = project("sr-x2")
    kept = params.root / "kept"
    (params.root / "models" / "sr-x2").rename(kept)
    other = project("sr-x2", epochs=1, hold_epochs=0, max_grad_norm=0.5, start_from=str(kept))
    stop(other)
    store = open_store(params.storage.url, params.root)
    (left,) = [key for key in store.list("runs/") if "/start-" in key]
    train_stage(project("sr-x2", epochs=1, hold_epochs=0, start_from=str(kept)), "sr-x2", plain=True)
    assert [key for key in store.list("runs/") if "/start-" in key] == [left]


def test_a_store_that_fails_at_the_start_can_be_given_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0, store_timeout_s=60)

    def away(self: FileStore, prefix: str = "") -> list[str]:
        if "/runs/sr-x2/" in f"/{prefix}":
            raise StoreError("No answer: start the service.")
        return []

    monkeypatch.setattr(FileStore, "list", away)
    with pytest.raises(Stopped, match=r"sr-x2: stopped \(0 minutes are over\) before it began; start it again"):
        train_stage(params, "sr-x2", plain=True, minutes=0)


def test_a_run_that_ends_before_its_rate_falls_says_so(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    train_stage(project("sr-x2", epochs=1, hold_epochs=0, max_steps=2), "sr-x2", plain=True)
    assert "sr-x2: the learning rate never falls within the 2 steps of this run\n" in capsys.readouterr().err


def test_of_two_launches_the_second_is_told_who_trains(project: Project) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    stop(params)
    folder = next((params.root / "store" / "runs" / "sr-x2").iterdir())
    assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == ["identity.json", "step"]
    store = open_store(params.storage.url, params.root)
    with Lease(store, f"runs/sr-x2/{folder.name}/lease.json", what="The run of sr-x2") as lease:
        lease.take(print)
        before = checkpoints(params)
        for resume in (None, False):
            with pytest.raises(
                UserError, match=r"^The run of sr-x2 is held by process \d+ of .* since .*: wait for its"
            ):
                train_stage(params, "sr-x2", plain=True, resume=resume)
        assert checkpoints(params) == before
    train_stage(params, "sr-x2", plain=True)
    assert store.list("runs/") == []


def test_a_launch_that_loses_the_run_ends_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    params = project("sr-x2", epochs=200, checkpoint_every=10000)
    monkeypatch.setattr("scn.storage.lease.REFRESH_SECONDS", 0.05)
    store, stolen = open_store(params.storage.url, params.root), threading.Event()

    def steal() -> None:
        while not stolen.is_set():
            for key in store.list("runs/"):
                if key.endswith("identity.json"):  # written when the lease is held
                    lease = key.replace("identity", "lease")
                    thief = Lease(store, lease, what="it")
                    if store.swap_pointer(lease, json.dumps(thief._record).encode(), store.read_pointer(lease)[1]):
                        stolen.set()
            time.sleep(0.01)

    thread = threading.Thread(target=steal)
    thread.start()
    try:
        with pytest.raises(LeaseLost, match="The run of sr-x2 was taken over by process"):
            train_stage(params, "sr-x2", plain=True)
    finally:
        stolen.set()
        thread.join()
    assert checkpoints(params) == []


def test_shards_of_other_corpora_are_told(project: Project) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    path = params.root / "shards/sr-x2/train.json"
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps({**manifest, "corpora": {"sample/other": "0" * 64}}))
    with pytest.raises(
        UserError, match=r"train\.json holds sample/other, and data\.train of .* names .*: run `dvc repro"
    ):
        train_stage(params, "sr-x2", plain=True)


def test_shards_of_images_that_were_named_are_trained_on(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = project("sr-x2", epochs=1, hold_epochs=0)
    monkeypatch.chdir(params.root)
    shutil.copytree("pictures/train", "photos")
    words = ["-e", "sr-x2", "--images", "photos", "--out", "shards/sr-x2", "--workers", "0"]
    monkeypatch.setattr("sys.argv", ["data-prep", "shard", *words])
    with pytest.raises(SystemExit, match=r"^0$"):
        data_prep()
    stop(params)
    said = "sr-x2: trains on photos, as --images of `data-prep shard` says, not on pictures/train\n"
    assert said in capsys.readouterr().out
    train_stage(params, "sr-x2", plain=True)
    assert list(load_model(params.root / "models" / "sr-x2")[1]["training_corpora"]) == ["photos"]
    for shard in training_manifest(params, "sr-x2").shards:
        (params.root / "store" / shard.key).unlink()
    with pytest.raises(UserError, match="again with the `data-prep shard` command that made its manifest, or"):
        train_stage(params, "sr-x2", plain=True, resume=False)  # the stage would make shards of data.train


def test_settings_that_training_does_not_read_are_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project("sr-x2").root
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["scn", "train", "-e", "sr-x2", "--set", "data.edges=replicate"])
    with pytest.raises(SystemExit, match=r"^1$"):
        scn.cli.main()
    assert capsys.readouterr().err == (
        "scn: --set data.edges=replicate would change nothing: shards/sr-x2 is made by then; change params.yaml, and "
        "run `data-prep shard --experiment sr-x2 --out shards/sr-x2` again.\n"
    )
