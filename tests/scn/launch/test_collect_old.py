"""`scn gc`: what nobody needs, once it has been so for long enough; never what a manifest names or a run changes."""

import errno
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scn.cli import app
from scn.config.params import Params, load_params
from scn.launch.collect import delete_old, find_old
from scn.registry.ages import NOTES
from scn.storage import open_store
from scn.storage.base import Store
from scn.storage.lease import Lease

PARAMS = """\
corpora: {local: {mine: photos/mine}}
data: {train: [mine/train], evaluation: [mine/evaluation]}
collect: {after_days: 10}
experiments:
  sr-x2: {task: sr, level: 2}
"""
SHARDS = [f"shards/sr/{digit * 32}/000000.tar" for digit in "abcd"]
RUN = "runs/sr-x2/0123abcd"
CHECKPOINT = f"{RUN}/step-20-0123456789abcdef.pt"


@pytest.fixture
def params(tmp_path: Path) -> Params:
    (tmp_path / "params.yaml").write_text(PARAMS)
    for key in (*SHARDS, CHECKPOINT):
        open_store("file://.scn/store", tmp_path).put(key, key.encode())
    for folder, key in (("shards/sr-x2", SHARDS[0]), (".scn/flow-runs/x/shards/sr-x2", SHARDS[1])):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "train.json").write_text(json.dumps({"shards": [{"key": key}]}))
    return load_params(tmp_path / "params.yaml")


def store_of(params: Params) -> Store:
    return open_store(params.storage.url, params.root)


def days_pass(params: Params, days: int) -> None:
    path = params.root / NOTES
    notes = json.loads(path.read_bytes())
    for note in notes.values():
        note["since"] = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    path.write_text(json.dumps(notes))


def deletable(params: Params) -> list[str]:
    return [old.name for old in find_old(params) if old.deletable]


def ages(params: Params) -> dict[str, tuple[int, bool]]:
    """For how many days each has been unneeded, and whether it may be deleted."""
    return {old.name: (old.days, old.deletable) for old in find_old(params)}


def test_what_is_unneeded_long_enough_is_deleted(params: Params) -> None:
    unneeded = ["runs/sr-x2/0123abcd", *(key.rpartition("/")[0] for key in SHARDS[2:])]
    assert [old.name for old in find_old(params)] == unneeded
    assert deletable(params) == []
    days_pass(params, 9)
    assert deletable(params) == []
    days_pass(params, 10)
    assert deletable(params) == unneeded
    assert delete_old(params, find_old(params)) == 3
    assert store_of(params).list() == SHARDS[:2]


def test_what_changes_begins_anew(params: Params) -> None:
    find_old(params)
    days_pass(params, 10)
    store_of(params).put("runs/sr-x2/0123abcd/step-40-0123456789abcdef.pt", b"later")
    assert ages(params)["runs/sr-x2/0123abcd"] == (0, False)
    find_old(params)
    days_pass(params, 10)
    _, token = store_of(params).read_pointer("runs/sr-x2/0123abcd/lease.json")
    store_of(params).swap_pointer("runs/sr-x2/0123abcd/lease.json", b"{}", token)  # a run has gone on
    assert ages(params)["runs/sr-x2/0123abcd"] == (0, False)


def test_a_lock_file_names_shards_too(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    root, md5 = params.root, "0" * 32
    (root / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  shard@sr-x2:\n    cmd: x\n    outs:\n"
        f"    - path: shards/sr-x2/train.json\n      hash: md5\n      md5: '{md5}'\n      size: 1\n"
    )
    assert [old.name for old in find_old(params)] == ["runs/sr-x2/0123abcd"]  # it can't be known what it names
    assert "shards/sr-x2/train.json of a dvc.lock is not in DVC's cache" in capsys.readouterr().err

    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    manifest = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"shards": [{"key": SHARDS[2]}]}))
    assert [old.name for old in find_old(params)] == ["runs/sr-x2/0123abcd", SHARDS[3].rpartition("/")[0]]


def test_what_ray_train_left_goes_too(params: Params) -> None:
    store = store_of(params)
    for key in ("ray-train/0123/sr-x2-1/.validate_storage_marker", "ray-train/0123/sr-x2-2/x", "ray-train/4567/x"):
        store.put(key, b"")
    assert [old.name for old in find_old(params)][:2] == ["ray-train/0123", "ray-train/4567"]
    days_pass(params, 10)
    store.put("ray-train/4567/y", b"")  # of a run that is at work
    assert [ages(params)[name] for name in ("ray-train/0123", "ray-train/4567")] == [(10, True), (0, False)]
    delete_old(params, find_old(params))
    assert store.list("ray-train/") == ["ray-train/4567/x", "ray-train/4567/y"]


def test_a_shard_that_has_come_to_be_named_meanwhile_stays(params: Params) -> None:
    find_old(params)
    days_pass(params, 10)
    found = find_old(params)
    (params.root / "shards/sr-x2/train.json").write_text(
        json.dumps({"shards": [{"key": SHARDS[0]}, {"key": SHARDS[2]}]})
    )
    delete_old(params, found)
    assert store_of(params).list("shards/") == SHARDS[:3]


def test_a_run_that_has_gone_on_meanwhile_keeps_its_checkpoints(params: Params) -> None:
    find_old(params)
    days_pass(params, 10)
    found = find_old(params)
    Lease(store_of(params), f"{RUN}/lease.json", what="The run").take(print)  # somebody resumes it
    assert delete_old(params, found) == 2
    assert CHECKPOINT in store_of(params).list("runs/")


def test_a_run_that_is_held_keeps_its_checkpoints_though_nothing_ages(params: Params) -> None:
    params.path.write_text(PARAMS.replace("after_days: 10", "after_days: 0"))
    at_once = load_params(params.path)
    lease = Lease(store_of(params), f"{RUN}/lease.json", what="The run")
    lease.take(print)
    assert delete_old(at_once, find_old(at_once)) == 2
    assert CHECKPOINT in store_of(params).list("runs/")
    lease.give_back()
    assert delete_old(at_once, find_old(at_once)) == 1
    assert not store_of(params).list("runs/")


def test_the_command_counts_what_was_deleted(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    find_old(params)
    days_pass(params, 10)
    found = find_old(params)
    Lease(store_of(params), f"{RUN}/lease.json", what="The run").take(print)
    monkeypatch.setattr("scn.launch.collect.find_old", lambda _: found)  # the run was resumed right after the look
    (params.root / "dvc.lock").write_text("schema: '2.0'\n")
    done = CliRunner().invoke(app, ["gc", "--delete", "--params", str(params.path)])
    told = f"{RUN} stays, as it has changed since it was looked at, or is held."
    assert done.stderr.splitlines() == [told, "2 objects deleted"]
    assert CHECKPOINT in store_of(params).list("runs/")


def test_a_full_disk_keeps_nothing_from_being_deleted(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_old(params)
    days_pass(params, 10)
    store_of(params).put("runs/sr-x2/4567/step-20-0123456789abcdef.pt", b"another")

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert delete_old(params, find_old(params)) == 3
    told = "What is found unneeded for the first time is not noted: "
    assert capsys.readouterr().err == (
        f"{told}{params.root / NOTES} can't be written (No space left on device): make room there.\n"
    )
    assert store_of(params).list("runs/") == ["runs/sr-x2/4567/step-20-0123456789abcdef.pt"]


def test_damaged_notes_cost_ages_only(params: Params) -> None:
    find_old(params)
    (params.root / NOTES).write_bytes(b"\x00 no JSON")
    assert [old.days for old in find_old(params)] == [0, 0, 0]


def test_folders_of_runs_that_the_store_has_no_more_go_from_this_machine(params: Params) -> None:
    gone, other, going_on = (params.root / ".scn/runs/sr-x2" / name for name in ("0000", "1111", "0123abcd"))
    for folder, about in ((gone, {}), (other, {"store": "s3://elsewhere"}), (going_on, {})):
        folder.mkdir(parents=True)
        (folder / "identity.json").write_text(json.dumps(about))  # without a store, as it was noted once
        (folder / "step-00000020-0123456789abcdef.pt").write_bytes(b"weights")
    find_old(params)
    days_pass(params, 10)
    found = [old for old in find_old(params) if old.name.startswith(".scn/")]
    assert [(old.name, old.deletable) for old in found] == [(".scn/runs/sr-x2/0000", True)]
    (gone / "step-00000040-0123456789abcdef.pt").write_bytes(b"later")
    assert delete_old(params, found) == 0
    find_old(params)
    days_pass(params, 10)
    assert delete_old(params, [old for old in find_old(params) if old.name.startswith(".scn/")]) == 3
    assert [gone.exists(), other.exists(), going_on.exists()] == [False, True, True]
