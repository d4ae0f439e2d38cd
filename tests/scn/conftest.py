"""A project of the smallest size: params.yaml, shards of random images, models, and metrics to publish."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from scn.config.params import Experiment, Params, load_params
from scn.core.hashing import digest, file_sha256
from scn.evaluation.protocols import protocols_of
from scn.evaluation.results import result_file
from scn.imaging.degradation import bicubic_upscale, degrade
from scn.inference.model_config import CONFIG
from scn.inference.model_files import save_model
from scn.networks.build import build
from scn.registry.manifest import MANIFEST
from scn.registry.publish import publish
from scn.registry.telling import tell_once
from scn.registry.versions import Version
from scn.shards.manifest import EvaluationManifest, ImageSet, Manifests, Shard, TrainingManifest, write_manifests
from scn.shards.samples import About, Sample, encode
from scn.storage import open_store
from scn.storage.base import Store

EXPERIMENTS = {"sr-x2": ("sr", 2), "dn-s25": ("dn", 25), "car-q10": ("car", 10)}


def put_samples(store: Store, experiment: Experiment, *shards: list[Sample]) -> Manifests:
    """Stores a shard for each list of samples; they are both training set and evaluation set."""
    made = [_put_shard(store, experiment, samples) for samples in shards]
    image_set = ImageSet(
        corpora=dict.fromkeys(experiment.data.train, "0" * 64),
        images=len({image for shard in made for image in shard.images}),
        samples=sum(shard.samples for shard in made),
        content=digest([shard.sha256 for shard in made]),
        converted={},
        refused={},
        shards=made,
    )
    about: dict[str, Any] = {"experiment": experiment.name, "task": experiment.task_name, "level": experiment.level}
    about |= {"parameters": {}, "made_with": {}}
    return Manifests(
        TrainingManifest(**about, **dict(image_set)),
        EvaluationManifest(**about, sets={"sample/evaluation": image_set}),
    )


def _put_shard(store: Store, experiment: Experiment, samples: list[Sample]) -> Shard:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for sample in samples:
            arrays = {"hr": sample.hr, f"lr{experiment.level}": sample.lr, "up": sample.up}
            stored = {key: array for key, array in arrays.items() if array is not None}
            members = encode(stored, "npy", 0) | {"json": sample.about.model_dump_json().encode()}
            for suffix, data in members.items():
                member = tarfile.TarInfo(f"{sample.about.key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    data = content.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    key = f"shards/{experiment.task_name}/{sha256}/000000.tar"
    store.put(key, data)
    sizes = {sample.about.index: (sample.about.height, sample.about.width) for sample in samples}
    return Shard(key=key, bytes=len(data), sha256=sha256, samples=len(samples), images=sizes)


class SmallProject:
    """Makes the files that the stages leave behind, without running the stages."""

    def __init__(self, root: Path, store_url: str = "file://store") -> None:
        self.root = root
        document = {
            "storage": {"url": store_url},
            "corpora": {"local": {"sample": "photographs"}},
            "data": {"train": ["sample/train"], "evaluation": ["sample/evaluation"]},
            "model": {"blocks": 1, "units": 4, "width": 2, "scales": 2},
            "experiments": {name: {"task": task, "level": level} for name, (task, level) in EXPERIMENTS.items()},
        }
        (root / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def params(self) -> Params:
        return load_params(self.root / "params.yaml")

    def add_model(self, name: str, seed: int = 0) -> Path:
        experiment = self.params.experiment(name)
        folder = self.root / "models" / name
        about = {"experiment": name, "task": experiment.task_name, "level": experiment.level}
        save_model(folder, build(experiment.architecture(), seed), experiment.architecture(), about)
        return folder

    def publish(self, *names: str) -> None:
        """Publishes a model of each name, with figures."""
        for name in names:
            self.add_model(name)
            self.add_metrics(name)
            publish(self.params, name)

    def of_a_newer_scn(self, name: str, version: str) -> None:
        """Makes a published version one that is whole, and whose network has a parameter that is not known here."""
        folder = self.root / "store/registry" / name / version
        config = json.loads((folder / CONFIG).read_bytes())
        config["architecture"]["gating"] = True
        (folder / CONFIG).write_text(json.dumps(config))
        content = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
        (folder / MANIFEST).write_bytes(Version.of(name, content).manifest)

    def add_metrics(self, name: str, psnr: float = 30.0) -> Path:
        experiment = self.params.experiment(name)
        protocol = protocols_of(experiment.task)[0].name
        provenance = {
            "protocol": protocol,
            "data_sha256": "d" * 64,
            "weights_sha256": file_sha256(self.root / "models" / name / "model.safetensors"),
            "code_sha256": "c" * 64,
            "images": {"sample/evaluation": 2},
        }
        gains = {"input": 0.0, "model": 1.5, "ensemble": 1.75}
        figures = {key: {"psnr": psnr + gain, "ssim": round(0.8 + gain / 100, 4)} for key, gain in gains.items()}
        images = [{"name": "a", "height": 32, "width": 40, "figures": {protocol: figures}}]
        evaluation = {
            "experiment": name,
            "task": experiment.task_name,
            "level": experiment.level,
            "sets": {"sample/evaluation": {"mean": {protocol: figures}, "images": images}},
            "provenance": provenance,
        }
        path = result_file(self.root, name, "ensemble")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(json.dumps(evaluation))
        return path

    def add_shards(self, name: str, images: dict[str, Any]) -> Manifests:
        """Stores `images` (name -> target) in a shard, for training and evaluation; writes the manifests."""
        experiment = self.params.experiment(name)
        samples = []
        for number, (image_name, hr) in enumerate(images.items()):
            lr = degrade(hr, experiment.task, experiment.level)
            up = bicubic_upscale(lr, experiment.scale) if lr is not None and experiment.scale > 1 else None
            about = About(name=image_name, index=number, height=hr.shape[0], width=hr.shape[1])
            samples.append(Sample(about=about, hr=hr, lr=lr, up=up))
        manifests = put_samples(open_store(self.params.storage.url, self.root), experiment, samples)
        write_manifests(self.root / "shards" / name, manifests)
        return manifests


@pytest.fixture(autouse=True)
def nothing_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the models that ship with the project, so that they change no test."""
    monkeypatch.setattr("scn.zoo.FOLDER", tmp_path / "zoo")


@pytest.fixture(autouse=True)
def nothing_was_told() -> None:
    """Lets each test hear what an earlier one has heard in this process."""
    tell_once.cache_clear()


@pytest.fixture
def put() -> Callable[..., Manifests]:
    """The function put_samples(store, experiment, samples of a shard, ...)."""
    return put_samples


@pytest.fixture(scope="session")
def make_project() -> Callable[..., SmallProject]:
    """The class SmallProject(root, store_url), for tests that need several projects."""
    return SmallProject


@pytest.fixture
def small_project(tmp_path: Path) -> SmallProject:
    root = tmp_path / "project"
    root.mkdir()
    return SmallProject(root)


@pytest.fixture(scope="session")
def photograph() -> Callable[..., Any]:
    """A function: (height, width, channels) -> a smooth uint8 image with some detail, the same every time."""

    def make(height: int, width: int, channels: int = 3) -> Any:
        rng = np.random.default_rng([height, width, channels])
        y, x = np.mgrid[:height, :width]
        waves = [
            np.sin(x / rng.uniform(5, 20) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(5, 20)) for _ in range(channels)
        ]
        image = 128 + 80 * np.stack(waves, axis=-1) + rng.normal(0, 4, (height, width, channels))
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    return make
