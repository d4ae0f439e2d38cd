"""A project whose stages have all run, without running them: figures, pictures, curves, models' descriptions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from scn.config.params import Params, load_params
from scn.core.hashing import digest
from scn.evaluation.metrics import psnr
from scn.evaluation.protocols import protocols_of
from scn.evaluation.results import picture_file, result_file

ALL_TEN = {
    **{f"sr-x{level}": ("sr", level) for level in (2, 3, 4)},
    **{f"dn-s{level}": ("dn", level) for level in (15, 25, 50)},
    **{f"car-q{level}": ("car", level) for level in (10, 20, 30, 40)},
}
IMAGES = [{"name": "train/0001.png", "sha256": "9" * 64}]
TRAINED_ON = digest([["train/0001.png", "9" * 64]])
NOISE = {"input": 20.0, "model": 8.0, "ensemble": 7.0}
"""Method -> the standard deviation of the error of its pictures."""


def finish(
    root: Path,
    experiments: Mapping[str, tuple[str, int]],
    *,
    sets: Sequence[str] = ("Set5", "sample/evaluation"),
    images: int = 3,
    side: int = 64,
) -> Params:
    """Writes params.yaml and all that the stages leave of the experiments (name -> task and level) into a folder."""
    document = {
        "storage": {"url": "file://store"},
        "corpora": {"download": {name.partition("/")[0]: "catalogue" for name in (*sets, "DIV2K/train")}},
        "data": {"train": ["DIV2K/train"], "evaluation": list(sets)},
        "model": {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2},
        "experiments": {name: {"task": task, "level": level} for name, (task, level) in experiments.items()},
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    params = load_params(root / "params.yaml")
    _write(root / "indexes" / "DIV2K.json", {"licence": "academic research only", "sha256": "0" * 64, "images": IMAGES})
    for number, name in enumerate(experiments):
        rng = np.random.default_rng(number)
        results = {each: _set(params, name, each, images, side, rng) for each in sets}
        _model(params, name)
        _evaluation(params, name, results)
        _curves(root / "curves" / name / "plots" / "metrics", rng)
    return params


def _set(params: Params, name: str, set_name: str, images: int, side: int, rng: np.random.Generator) -> dict[str, Any]:
    """The figures of an evaluation set, with the pictures of the best and the worst image."""
    rule = protocols_of(params.experiment(name).task)[0].name
    colour = params.experiment(name).task.image_channels == 3
    rows: list[dict[str, Any]] = []
    for number in range(images):
        truth = _picture(rng, side, side + 16, colour)
        pictures = {"truth": truth} | {method: _noisy(truth, noise, rng) for method, noise in NOISE.items()}
        figures = {
            method: {"psnr": round(psnr(pictures[method], truth), 4), "ssim": 0.9, "ssim8": 0.91, "psnr_b": 30.0}
            for method in NOISE
        }
        image = f"image {number}.png"
        rows.append({"name": image, "height": side, "width": side + 16, "figures": {rule: figures}})
        if number in (0, images - 1):
            for kind, pixels in pictures.items():
                path = picture_file(params.root, name, set_name, image, kind)  # type: ignore[arg-type]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    means = {
        method: {
            key: round(float(np.mean([row["figures"][rule][method][key] for row in rows])), 4)
            for key in figures["model"]
        }
        for method in NOISE
    }
    most, least = ["image 0.png"], [f"image {images - 1}.png"] if images > 1 else []
    return {"mean": {rule: means}, "images": rows, "most": most, "least": least}


def _evaluation(params: Params, name: str, sets: Mapping[str, Any]) -> None:
    experiment = params.experiment(name)
    about = {
        "experiment": name,
        "task": experiment.task_name,
        "level": experiment.level,
        "sets": sets,
        "provenance": {
            "protocol": protocols_of(experiment.task)[0].name,
            "precision": "float32",
            **{f"{what}_sha256": what[0] * 64 for what in ("data", "weights", "code")},
            "images": {each: len(result["images"]) for each, result in sets.items()},
        },
    }
    _write(result_file(params.root, name, "ensemble"), about)


def _model(params: Params, name: str) -> None:
    experiment = params.experiment(name)
    config = {
        "architecture": experiment.architecture(),
        "task": experiment.task_name,
        "level": experiment.level,
        "identity": {"train": experiment.train.model_dump(), "manifest": "e" * 64},
        "training_corpora": {"DIV2K/train": TRAINED_ON},
        "steps": 1000,
        "seconds": 3725,
        "machine": "a machine, 2 CPUs",
        "commit": "abcdef0123",
        "made_by": [{"step": 0, "code_sha256": "b" * 64, "versions": {"scn": "0.1.0", "torch": "2.11"}}],
    }
    _write(params.root / "models" / name / "config.json", config)
    receipt = {
        "experiment": name,
        "version": "v1",
        "url": f"file://store/registry/{name}/v1",
        "manifest_sha256": "a" * 64,
    }
    _write(params.root / "published" / f"{name}.json", receipt)


def _curves(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    steps = range(0, 1000, 20)
    columns = {
        "loss": [0.05 / (1 + step / 100) * rng.uniform(0.9, 1.1) for step in steps],
        "learning_rate": [0.001 if step < 500 else 0.0005 for step in steps],
        "step_time": [rng.uniform(0.2, 0.3) for _ in steps],
        "psnr_Set5": [30 + step / 500 for step in steps],
    }
    for name, values in columns.items():
        rows = [f"{step}\t{value}" for step, value in zip(steps, values, strict=True)]
        (folder / f"{name}.tsv").write_text("\n".join([f"step\t{name}", *rows, ""]))


def _picture(rng: np.random.Generator, height: int, width: int, colour: bool) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 80 * np.sin(x / rng.uniform(3, 20)) * np.cos(y / rng.uniform(3, 20)) for _ in range(3)]
    return np.rint(np.stack(waves, axis=-1) if colour else waves[0]).astype(np.uint8)


def _noisy(picture: NDArray[np.uint8], noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture + rng.normal(0, noise, picture.shape)), 0, 255).astype(np.uint8)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
