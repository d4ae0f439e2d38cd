"""What may be deleted of the registry: never what serves, is named, or is recorded."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scn.config.params import Params, load_params
from scn.registry.collect import delete, unneeded
from scn.registry.promote import promote
from scn.registry.publish import publish, versions
from scn.storage import open_store

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


def test_half_versions_go_but_not_that_of_a_publisher_at_work(project: Any) -> None:
    params = keeping(project, 9)
    store = Path(project.root / "store/registry" / NAME)
    (store / "v3/manifest.json").unlink()
    (store / "v7").mkdir()
    shutil.copy(store / "v6/config.json", store / "v7")
    (half,) = unneeded(params)
    assert (half.version, half.why) == ("v3", "it was never published whole")
    delete(params, [half])
    assert not list(store.glob("v3/*"))
    assert versions(open_store(params.storage.url, params.root), NAME) == [1, 2, 4, 5, 6]


def test_a_version_that_is_deleted_never_exists_in_part(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params = keeping(project)
    (first, *_) = unneeded(params)
    assert first.keys[0].endswith("v1/manifest.json")
    delete(params, [first])
    assert versions(open_store(params.storage.url, params.root), NAME) == [2, 3, 4, 5, 6]
    assert found(params) == ["v2", "v3", "v4"]
