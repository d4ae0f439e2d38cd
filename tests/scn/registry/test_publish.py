"""Published versions are immutable and whole, whenever a publisher dies and whoever publishes at the same time."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.inference.model_files import load_model
from scn.inference.records import Receipt
from scn.registry.publish import latest, publish, versions
from scn.registry.reference import find, load, resolve
from scn.registry.signing import KEY, check_signature, make_key
from scn.storage import open_store
from scn.storage.base import Store

NAME = "dn-s25"
FILES = {"model.safetensors", "config.json", "metrics.json", "README.md", "manifest.json"}


@pytest.fixture
def project(small_project: Any) -> Any:
    small_project.add_model(NAME)
    small_project.add_metrics(NAME)
    return small_project


def store_of(project: Any) -> Store:
    return open_store(project.params.storage.url, project.root)


def retrain(project: Any, seed: int) -> None:
    project.add_model(NAME, seed)
    project.add_metrics(NAME, 30.0 + seed)


def weights(project: Any) -> torch.Tensor:
    """The first weights of the model that a publisher would publish now."""
    return next(load_model(project.root / "models" / NAME)[0].parameters())


def first(network: torch.nn.Module) -> torch.Tensor:
    return next(network.parameters())


def assert_all_whole(project: Any) -> None:
    """Every version that exists has all its files, and they are what its manifest says."""
    store = store_of(project)
    for number in versions(store, NAME):
        folder = f"registry/{NAME}/v{number}"
        files = json.loads(store.get(f"{folder}/manifest.json"))["files"]
        assert set(files) == FILES - {"manifest.json"}
        for file, expected in files.items():
            data = store.get(f"{folder}/{file}")
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (expected["sha256"], expected["bytes"])


def test_a_version_holds_everything_and_the_receipt_says_where(project: Any) -> None:
    receipt = publish(project.params, NAME)
    store = store_of(project)
    assert set(store.list("registry/")) == {
        *(f"registry/{NAME}/v1/{file}" for file in FILES),
        f"registry/{NAME}/latest.json",
    }
    assert latest(store, NAME) == "v1"
    manifest = store.get(f"registry/{NAME}/v1/manifest.json")
    assert receipt == Receipt(
        experiment=NAME,
        version="v1",
        url=f"file://store/registry/{NAME}/v1",
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        weights_sha256=file_sha256(project.root / "models" / NAME / "model.safetensors"),
    )
    # DVC keeps this file, and released versions read it, which pass over keys they don't know: those they know stay.
    assert (project.root / "published" / f"{NAME}.json").read_text() == (
        f'{{\n "experiment": "{NAME}",\n "version": "v1",\n "url": "file://store/registry/{NAME}/v1",\n'
        f' "manifest_sha256": "{receipt.manifest_sha256}",\n "weights_sha256": "{receipt.weights_sha256}"\n}}\n'
    )
    metrics = json.loads(store.get(f"registry/{NAME}/v1/metrics.json"))
    evaluation = json.loads((project.root / "evaluations" / NAME / "ensemble.json").read_text())
    figures = evaluation["sets"]["sample/evaluation"]["mean"]["dn-grey-v1"]
    assert metrics == {"sample/evaluation": figures, "provenance": evaluation["provenance"]}
    assert_all_whole(project)


def test_nothing_new_is_not_published_and_a_change_is_v2(project: Any) -> None:
    publish(project.params, NAME)
    before = store_of(project).list()
    assert publish(project.params, NAME).version == "v1"
    assert store_of(project).list() == before
    retrain(project, 1)
    assert publish(project.params, NAME).version == "v2"
    assert versions(store_of(project), NAME) == [1, 2]
    assert latest(store_of(project), NAME) == "v2"
    project.add_metrics(NAME, psnr=29.0)  # other figures alone are a change too
    assert publish(project.params, NAME).version == "v3"
    assert_all_whole(project)


def test_load_and_resolve_by_every_kind_of_reference(project: Any) -> None:
    publish(project.params, NAME)
    v1 = weights(project)
    retrain(project, 1)
    publish(project.params, NAME)
    v2 = weights(project)
    params_file = project.root / "params.yaml"
    network = load(NAME, params_file=params_file).network
    assert not network.training
    assert not any("parametrizations" in name for name in network.state_dict())
    assert torch.equal(first(network), v2)
    assert torch.equal(first(load(f"{NAME}@v1", params_file=params_file).network), v1)
    assert torch.equal(first(load(f"{NAME}@v2", params_file=params_file).network), v2)
    folder = project.root / "store" / "registry" / NAME / "v1"
    assert torch.equal(first(load(folder, params_file="").network), v1)
    image = torch.rand(2, 1, 9, 13)
    assert network(image).shape == image.shape
    assert network(image).dtype == torch.float32


def test_works_in_every_kind_of_store(make_project: Callable[..., Any], tmp_path: Path, store_url: str) -> None:
    project = make_project(tmp_path, store_url)
    for seed in (0, 1):
        retrain(project, seed)
        assert publish(project.params, NAME).version == f"v{seed + 1}"
        assert publish(project.params, NAME).version == f"v{seed + 1}"
    assert_all_whole(project)
    assert torch.equal(first(load(NAME, params_file=project.root / "params.yaml").network), weights(project))


def test_the_cache_is_used_and_mended(project: Any) -> None:
    publish(project.params, NAME)
    folder, version = resolve(NAME, project.params)
    assert version == "v1"
    assert folder.is_relative_to(project.root / ".scn" / "cache")
    assert {path.name for path in folder.iterdir()} == FILES
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve(NAME, project.params)[0] == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    (folder / "config.json").write_text("{}")
    (folder / "README.md").unlink()
    assert resolve(NAME, project.params)[0] == folder
    assert load_model(folder)[1]["experiment"] == NAME
    assert (folder / "README.md").is_file()
    (folder / "manifest.json").unlink()  # killed before it was written
    resolve(NAME, project.params)
    assert {path.name for path in folder.iterdir()} == FILES


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("dn-s26", r"no model in file://.*: did you mean 'dn-s25' \(published there: dn-s25\)\.$"),
        ("elephant", r"published there: dn-s25; publish with `scn publish --experiment NAME`\.$"),
        ("dn-s25@v7", r"dn-s25 has no version 'v7' in file://.*: use one of v1\.$"),
        ("dn-s25@", r"dn-s25 has no version '' in"),
        ("sr-x2", r"published there: dn-s25"),
        ("models", r"'models' is no folder with a model"),
    ],
)
def test_unknown_references(project: Any, reference: str, message: str) -> None:
    publish(project.params, NAME)
    with pytest.raises(UserError, match=message):
        load(reference, params_file=project.root / "params.yaml")


def test_nothing_is_published_yet(project: Any) -> None:
    with pytest.raises(UserError, match="nothing is published there yet; publish with"):
        resolve(NAME, project.params)


@pytest.mark.parametrize("file", ["model.safetensors", "README.md"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_version_is_named(project: Any, file: str, damage: str) -> None:
    publish(project.params, NAME)
    path = project.root / "store" / "registry" / NAME / "v1" / file
    if damage == "gone":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=rf"{file} of dn-s25@v1 in file://.* is missing or damaged"):
        resolve(NAME, project.params)
    if file == "README.md":
        with pytest.raises(UserError, match=r"README\.md is missing or damaged .*: fetch this version again"):
            find(path.parent)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("no model", "is no model folder"),
        ("no metrics", r"evaluations/dn-s25/ensemble\.json does not exist: run `dvc repro ensemble@dn-s25`"),
        (
            "broken metrics",
            r"evaluations/dn-s25/ensemble\.json holds no evaluation .*: run `dvc repro ensemble@dn-s25`",
        ),
        ("retrained", r"was measured with other weights than .*: run `dvc repro ensemble@dn-s25`"),
        (
            "other architecture",
            r"another architecture than .* describes for dn-s25: .* `dvc repro train@dn-s25`",
        ),
    ],
)
def test_what_does_not_belong_together_is_not_published(project: Any, spoil: str, message: str) -> None:
    metrics = project.root / "evaluations" / NAME / "ensemble.json"
    match spoil:
        case "no model":
            shutil.rmtree(project.root / "models")
        case "no metrics":
            metrics.unlink()
        case "broken metrics":
            metrics.write_text('{"sample/evaluation": {}}')
        case "retrained":
            project.add_model(NAME, seed=1)
        case "other architecture":
            text = (project.root / "params.yaml").read_text()
            (project.root / "params.yaml").write_text(text.replace("units: 4", "units: 8"))
    with pytest.raises(UserError, match=message):
        publish(project.params, NAME)
    assert store_of(project).list("registry/") == []
    assert not (project.root / "published").exists()


# One publisher for each number of writes it survives, each in a project of its own. A real process dies (SIGKILL, in
# the middle of the call that would write); forking saves importing torch for each.
DYING_PUBLISHERS = """
import os, signal, sys
from pathlib import Path
import scn.registry.publish
from scn.config.params import Params, load_params
from scn.storage import open_store

class Dying:
    def __init__(self, store, writes):
        self.store, self.writes = store, writes
    def __getattr__(self, name):
        return getattr(self.store, name)
    def live(self):
        if self.writes == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.writes -= 1
    def put(self, key, data):
        self.live()
        return self.store.put(key, data)
    def swap_pointer(self, key, data, token):
        self.live()
        return self.store.swap_pointer(key, data, token)

for writes, root in enumerate(sys.argv[1:]):
    child = os.fork()
    if child == 0:
        store = Dying(open_store("file://store", Path(root)), writes)
        write_receipt = scn.registry.publish.write_atomically
        scn.registry.publish.write_atomically = lambda path, data: (store.live(), write_receipt(path, data))
        Params.open_store = lambda *_, **__: store
        scn.registry.publish.publish(load_params(Path(root) / "params.yaml"), "dn-s25")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else "finished")
"""
WRITES = 8  # four files, signature.json, manifest.json, latest.json, the receipt


def test_killed_after_any_write_leaves_whole_versions_only(
    make_project: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = make_key(tmp_path / "key.pem")
    monkeypatch.setenv(KEY, str(tmp_path / "key.pem"))
    projects = []
    for writes in range(WRITES + 1):
        (tmp_path / str(writes)).mkdir()
        projects.append(make_project(tmp_path / str(writes)))
        retrain(projects[-1], 0)
        publish(projects[-1].params, NAME)
        (projects[-1].root / "published" / f"{NAME}.json").unlink()
    v1 = weights(projects[0])
    for project in projects:
        retrain(project, 1)
    v2 = weights(projects[0])
    command = [sys.executable, "-c", DYING_PUBLISHERS, *(str(project.root) for project in projects)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert output == ["9"] * WRITES + ["finished"]
    for writes, project in enumerate(projects):
        params_file, store = project.root / "params.yaml", store_of(project)
        assert_all_whole(project)
        assert versions(store, NAME) == ([1] if writes < 6 else [1, 2])
        for number in versions(store, NAME):  # signed as soon as they exist
            manifest = store.get(f"registry/{NAME}/v{number}/manifest.json")
            check_signature(store, NAME, f"v{number}", manifest, [public])
        assert torch.equal(first(load(NAME, params_file=params_file).network), v1 if writes < 7 else v2)
        assert (project.root / "published" / f"{NAME}.json").exists() == (writes == WRITES)
        if writes < 6:
            with pytest.raises(UserError, match="has no version 'v2'"):
                resolve(f"{NAME}@v2", project.params)

        # The same content continues what was begun, and it is published once.
        again = shutil.copytree(project.root, tmp_path / f"same-{writes}")
        same = make_project(again)
        assert publish(same.params, NAME).version == "v2"
        assert torch.equal(first(load(NAME, params_file=again / "params.yaml").network), v2)
        assert versions(store_of(same), NAME) == [1, 2]

        # Other content leaves a half version alone.
        retrain(project, 2)
        assert publish(project.params, NAME).version == ("v2" if writes == 0 else "v3")
        assert torch.equal(first(load(NAME, params_file=params_file).network), weights(project))
        assert_all_whole(project)


def test_a_first_version_without_pointer_is_loaded(project: Any) -> None:
    publish(project.params, NAME)
    (project.root / "store" / "registry" / NAME / "latest.json").unlink()
    assert torch.equal(first(load(NAME, params_file=project.root / "params.yaml").network), weights(project))
    assert publish(project.params, NAME).version == "v1"
    assert latest(store_of(project), NAME) == "v1"


class Interrupted:
    """A store in which something else happens before the k-th write."""

    def __init__(self, store: Store, k: int, meanwhile: Callable[[], object]) -> None:
        self.store, self.k, self.meanwhile = store, k, meanwhile

    def __getattr__(self, name: str) -> Any:
        if name in ("put", "swap_pointer"):
            self.k -= 1
            if self.k == -1:
                self.meanwhile()
        return getattr(self.store, name)


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("what_differs", ["weights", "metrics", "nothing"])
def test_two_publishers_at_once_never_mix(
    make_project: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int, what_differs: str
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    projects = []
    for root in (one, other):
        root.mkdir()
        projects.append(make_project(root, f"file://{tmp_path}/store"))
        retrain(projects[-1], 0)
    if what_differs == "weights":
        projects[1].add_model(NAME, 1)
        projects[1].add_metrics(NAME)
    elif what_differs == "metrics":
        projects[1].add_metrics(NAME, psnr=25.0)
    store = store_of(projects[0])
    receipts: list[Receipt] = []

    opening = Params.open_store

    def publish_other() -> None:
        monkeypatch.setattr(Params, "open_store", opening)
        receipts.append(publish(projects[1].params, NAME))

    monkeypatch.setattr(Params, "open_store", lambda *_, **__: Interrupted(store, k, publish_other))
    receipts.append(publish(projects[0].params, NAME))
    assert_all_whole(projects[0])
    names = {receipt.version for receipt in receipts}
    assert names == ({"v1"} if what_differs == "nothing" else {"v1", "v2"})
    assert {f"v{number}" for number in versions(store, NAME)} == names
    # The rule counts the numbers, whoever is faster: what has 5 dB less does not take the place of the other.
    better = receipts[1].version if what_differs == "metrics" else max(names)
    assert latest(store, NAME) == better
    for receipt in receipts:
        manifest = store.get(f"registry/{NAME}/{receipt.version}/manifest.json")
        assert hashlib.sha256(manifest).hexdigest() == receipt.manifest_sha256


def test_a_loaded_network_gives_images_without_gradients(project: Any) -> None:
    publish(project.params, NAME)
    network = load(NAME, params_file=project.root / "params.yaml")
    restored = network(torch.cat([torch.zeros(1, 1, 9, 9), torch.ones(1, 1, 9, 9)]))
    assert 0 <= restored.min() <= restored.max() <= 1
    assert not restored.requires_grad
    with pytest.raises(UserError, match=r"takes a floating point tensor .* values in \[0, 1\], not torch\.uint8"):
        network(torch.zeros(1, 1, 9, 9, dtype=torch.uint8))
    for wrong in (torch.full((1, 1, 9, 9), 255.0), torch.full((1, 1, 9, 9), torch.nan)):
        with pytest.raises(UserError, match=r"takes values in \[0, 1\], not (255|nan) to (255|nan): divide"):
            network(wrong)


def test_a_damaged_newest_version_is_published_anew(project: Any) -> None:
    publish(project.params, NAME)
    path = project.root / f"store/registry/{NAME}/v1/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert publish(project.params, NAME).version == "v2"
    assert load(NAME, params_file=project.root / "params.yaml").version == "v2"
