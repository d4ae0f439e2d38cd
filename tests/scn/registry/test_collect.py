"""What may be deleted of the registry: never what serves, is named, or is recorded."""

import hashlib
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from scn.config.params import Params, load_params
from scn.core.errors import UserError
from scn.registry.ages import NOTES
from scn.registry.collect import delete, unneeded
from scn.registry.promote import promote, rollback
from scn.registry.publish import publish, versions
from scn.storage import open_store
from scn.storage.local import FileStore

NAME = "dn-s25"


@pytest.fixture
def project(small_project: Any) -> Any:
    """Six versions, of which the newest two are kept; nothing else names one but `latest`."""
    for seed in range(6):
        small_project.add_model(NAME, seed)
        small_project.add_metrics(NAME, 27.0 + seed)
        publish(small_project.params, NAME)
        shutil.copy(small_project.root / f"published/{NAME}.json", small_project.root / f"v{seed + 1}.json")
    (small_project.root / f"published/{NAME}.json").unlink()
    return small_project


def file_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def keeping(project: Any, count: int = 2) -> Params:
    path = project.root / "params.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "registry": {"keep": count}}))
    return load_params(path)


def found(params: Params) -> list[str]:
    return [version.version for version in unneeded(params)]


def test_the_newest_and_what_a_rollback_needs_are_kept(project: Any) -> None:
    assert found(keeping(project, 1)) == ["v1", "v2", "v3", "v4"]  # latest was v5 before
    assert found(keeping(project, 3)) == ["v1", "v2", "v3"]


def test_what_is_named_is_kept(project: Any) -> None:
    params = keeping(project)
    assert found(params) == ["v1", "v2", "v3", "v4"]
    promote(params, f"{NAME}@v1", "production")
    assert found(params) == ["v2", "v3", "v4"]
    (project.root / "published").mkdir(exist_ok=True)
    shutil.copy(project.root / "v2.json", project.root / f"published/{NAME}.json")
    assert found(params) == ["v3", "v4"]
    lock = {"stages": {"publish@dn-s25": {"outs": [{"path": "p", "md5": file_md5(project.root / "v3.json")}]}}}
    (project.root / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert found(params) == ["v4"]
    store = open_store(params.storage.url, params.root)
    store.put("registry/sr-x2/v1/README.md", f"It starts from {NAME}@v4.".encode())
    store.put("registry/sr-x2/v1/manifest.json", b"{}")
    assert found(params) == []


def test_what_the_lock_file_of_another_branch_names_is_kept(project: Any) -> None:
    params = keeping(project)

    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *identity, *words], cwd=project.root, check=True, capture_output=True)

    lock = project.root / "dvc.lock"
    lock.write_text(f"outs:\n- md5: {file_md5(project.root / 'v2.json')}\n")
    git("init", "-q", "-b", "runs")
    git("add", "dvc.lock")
    git("commit", "-q", "-m", "a run")
    git("checkout", "-q", "--orphan", "main")
    lock.unlink()
    assert found(params) == ["v1", "v3", "v4"]


def test_what_a_lock_names_by_a_receipt_without_the_hash_of_weights_is_kept(project: Any) -> None:
    params = keeping(project)
    receipt = json.loads((project.root / "v2.json").read_text())
    assert len(receipt.pop("weights_sha256")) == 64
    (project.root / "v2.json").write_text(json.dumps(receipt, indent=1) + "\n")
    (project.root / "dvc.lock").write_text(f"outs:\n- md5: {file_md5(project.root / 'v2.json')}\n")
    assert found(params) == ["v1", "v3", "v4"]


def test_what_a_lock_names_is_kept_though_the_store_has_moved(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    params = keeping(project)
    receipt = (project.root / "v2.json").read_bytes().replace(b"store/", b"old-place/")
    md5 = hashlib.md5(receipt, usedforsecurity=False).hexdigest()
    (project.root / "dvc.lock").write_text(
        f"stages:\n  publish@dn-s25:\n    outs:\n    - path: published/dn-s25.json\n      hash: md5\n      md5: {md5}\n"
    )
    assert found(params) == []
    assert (
        "No whole version of dn-s25 is looked at, as a receipt that a dvc.lock names is not" in capsys.readouterr().err
    )
    cached = project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(receipt)
    assert found(params) == ["v1", "v3", "v4"]


def test_git_that_cannot_be_asked_is_no_git_that_names_nothing(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params = keeping(project)
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    with monkeypatch.context() as other:
        other.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        other.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        other.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
        with pytest.raises(UserError, match=r"what its branches need \(fatal: .*dubious ownership"):
            unneeded(params)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"what its branches need \(No such file or directory\): install git"):
        unneeded(params)


def test_what_the_next_rollback_leads_to_is_kept(project: Any) -> None:
    params = keeping(project, 1)
    assert rollback(params, NAME).version == "v5"
    delete(params, unneeded(params))
    assert rollback(params, NAME).version == "v4"
    assert versions(open_store(params.storage.url, params.root), NAME) == [4, 5, 6]


def test_what_a_name_pointed_to_before_its_last_move_is_kept(project: Any) -> None:
    params = keeping(project, 1)
    rollback(params, NAME, to="v2")
    promote(params, f"{NAME}@v4")
    assert found(params) == ["v1", "v5"]  # latest is v4; v2 was before, and the next rollback leads to v3


def test_what_was_promoted_meanwhile_is_not_deleted(project: Any) -> None:
    params = keeping(project)
    old = unneeded(params)
    promote(params, f"{NAME}@v2", "production")
    assert [each.version for each in delete(params, old)] == ["v1", "v3", "v4"]


def test_half_versions_go_but_not_that_of_a_publisher_at_work(project: Any) -> None:
    params = keeping(project, 9)
    store = Path(project.root / "store/registry" / NAME)
    (store / "v3/manifest.json").unlink()
    (store / "v7").mkdir()
    shutil.copy(store / "v6/config.json", store / "v7")
    (half,) = unneeded(params)
    assert half.told(14) == "dn-s25@v3: it was never published whole, found so for 0 of 14 days"
    assert delete(params, [half]) == []  # a slow publisher may be at work on it
    assert list(store.glob("v3/*"))
    notes = json.loads((project.root / NOTES).read_bytes())
    notes["registry/dn-s25/v3"]["since"] = (datetime.now(UTC) - timedelta(days=15)).isoformat()
    (project.root / NOTES).write_text(json.dumps(notes))
    (half,) = unneeded(params)
    assert delete(params, [half]) == [half]
    assert not list(store.glob("v3/*"))
    assert versions(open_store(params.storage.url, params.root), NAME) == [1, 2, 4, 5, 6]


def test_a_version_that_is_deleted_never_exists_in_part(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params = keeping(project)
    (first, *_) = unneeded(params)
    deleting, deleted = FileStore.delete, list[str]()

    def killed(store: FileStore, key: str) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleting(store, key)
        deleted.append(key)

    with monkeypatch.context() as dying:
        dying.setattr(FileStore, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            delete(params, [first])
    assert versions(open_store(params.storage.url, params.root), NAME) == [2, 3, 4, 5, 6]
    assert len(list((project.root / "store/registry" / NAME / "v1").iterdir())) == 4
    assert next(each.why for each in unneeded(params)) == "it was never published whole"
