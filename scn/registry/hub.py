"""Records of a model for the places where others look for models, and uploading it to Hugging Face.

They are made of what lies in the model's folder: config.json, metrics.json and the model card.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.imaging.tasks import TASKS, Task
from scn.inference.model_config import CARD, CONFIG, METRICS, WEIGHTS, inherited_corpora
from scn.inference.records import Figures, Metrics
from scn.networks import NETWORKS
from scn.registry.manifest import MANIFEST

PIPELINE_TAG = "image-to-image"
"""Hugging Face's name of the task."""
_TAGS = {
    "sr": ("super-resolution", ("general-upscaler", "photo", "research")),
    "dn": ("denoising", ("denoise", "photo", "research")),
    "car": ("jpeg-artifact-removal", ("compression-removal", "jpeg", "restoration", "photo", "research")),
}
"""Task -> its tag on Hugging Face, and its tags in OpenModelDB."""
_UNKNOWN = {"license": "other", "license_name": "that-of-the-training-images", "license_link": "README.md"}
"""What stands in the place of a licence that nobody named: the card says of which images it depends."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a model's folder says of it."""

    folder: Path
    name: str
    config: Mapping[str, Any]
    task: Task
    metrics: Metrics | None
    card: str

    @property
    def scale(self) -> int:
        """The upscaling factor."""
        return int(self.config["architecture"].get("scale", 1))

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that it and its first weights were trained on, without those of their splits."""
        references = [*(self.config.get("training_corpora") or {}), *inherited_corpora(self.config)[0]]
        return list(dict.fromkeys(name.partition("/")[0] for name in references))


def described(folder: Path) -> Described:
    """Reads a model's folder. Raises UserError if it is damaged or does not say which task the model is for."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        task = TASKS[config["task"]]
        manifest = folder / MANIFEST  # config.json of a model that was imported names no experiment
        version = json.loads(manifest.read_bytes()) if manifest.is_file() else {}
        name = str(config.get("experiment") or version.get("experiment") or folder.resolve().name)
        card = (folder / CARD).read_text() if (folder / CARD).is_file() else f"# {name}: {task.title}\n"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no model that can be described ({error}): publish it again.") from None
    path = folder / METRICS
    metrics = Metrics.loads(path.read_bytes(), path, "publish the model again") if path.is_file() else None
    return Described(folder=folder, name=name, config=config, task=task, metrics=metrics, card=card)


def hugging_face_card(model: Described, license: str | None = None) -> str:
    """The model card with Hugging Face's metadata before it: the README.md of a repository there.

    Args:
        license: one of Hugging Face's identifiers; None: other, as that of the training images decides.
    """
    network = NETWORKS[model.config["architecture"]["name"]]
    about: dict[str, Any] = {
        **({"license": license} if license else _UNKNOWN),
        "library_name": "scn",
        "pipeline_tag": PIPELINE_TAG,
        "tags": [_TAGS[model.task.name][0], network.name, "image-restoration"],
    }
    if model.corpora:
        about["datasets"] = model.corpora
    if model.metrics:
        about["metrics"] = ["psnr", "ssim"]
        about["model-index"] = [{"name": model.name, "results": [*_results(model, model.metrics)]}]
    return f"---\n{yaml.safe_dump(about, sort_keys=False, allow_unicode=True)}---\n\n{model.card}"


def _results(model: Described, metrics: Metrics) -> list[dict[str, Any]]:
    protocol = metrics.provenance.protocol
    return [
        {
            "task": {"type": PIPELINE_TAG, "name": f"{model.task.title}, {protocol}"},
            "dataset": {"type": name, "name": name},
            "metrics": [*_values(figures.model, ""), *_values(figures.ensemble, ", self-ensemble")],
        }
        for name, figures in metrics.sets.items()
    ]


def _values(figures: Figures, behind: str) -> list[dict[str, Any]]:
    return [
        {"type": "psnr", "name": f"PSNR{behind}", "value": figures.psnr},
        {"type": "ssim", "name": f"SSIM{behind}", "value": figures.ssim},
    ]


def open_model_db_record(
    model: Described, *, author: str, date: str, url: str, license: str | None = None
) -> dict[str, Any]:
    """The model's file in OpenModelDB's folder data/models, but for its example images.

    Args:
        author: the author's identifier there.
        date: the day that it was published on, yyyy-mm-dd.
        url: where model.safetensors can be fetched.
        license: a licence's SPDX expression; None: none is known.
    """
    architecture, recipe = model.config["architecture"], model.config.get("identity", {}).get("train", {})
    weights = model.folder / WEIGHTS
    known = {
        "trainingIterations": model.config.get("steps"),
        "trainingBatchSize": recipe.get("batch_size"),
        "trainingHRSize": recipe["patch_size"] * model.scale if "patch_size" in recipe else None,
        "dataset": ", ".join(model.corpora) or None,
    }
    channels = architecture.get("channels", 3)
    return {
        "name": f"{architecture['name'].upper()} {model.name}",
        "author": author,
        "license": license,
        "tags": list(_TAGS[model.task.name][1]),
        "description": model.card,
        "date": date,
        "architecture": architecture["name"],
        "size": None,
        "scale": model.scale,
        "inputChannels": channels,
        "outputChannels": channels,
        "resources": [
            {
                "platform": "pytorch",
                "type": "safetensors",
                "size": weights.stat().st_size,
                "sha256": file_sha256(weights),
                "urls": [url],
            }
        ],
        **{key: value for key, value in known.items() if value is not None},
        "images": [],
    }


def push(model: Described, target: str, *, version: str = "", license: str | None = None, private: bool = False) -> str:
    """Uploads a model to a repository of Hugging Face, as one commit; the repository is made if there is none.

    The token and another endpoint than Hugging Face's own are those that huggingface_hub finds: HF_TOKEN, or what
    `hf auth login` has stored, and HF_ENDPOINT.

    Args:
        target: hf://OWNER/NAME.
        version: is named in the commit's message.
        license: as for hugging_face_card.
        private: make the repository private, if it is made.
    Returns:
        the commit's address.
    Raises:
        UserError: for another target, if huggingface_hub is not installed, or for whatever the service refuses.
    """
    if not (found := re.fullmatch(r"hf://([\w.-]+/[\w.-]+)", target)):
        raise UserError(f"'{target}' is no repository of Hugging Face: name one, as hf://OWNER/NAME.")
    if not find_spec("huggingface_hub"):
        raise UserError("Uploading needs the package huggingface_hub: install it with pip install 'scn[hub]'.")
    from huggingface_hub import CommitOperationAdd, HfApi

    contents: dict[str, bytes | Path] = {CARD: hugging_face_card(model, license).encode()}
    contents |= {name: model.folder / name for name in (WEIGHTS, CONFIG, METRICS) if (model.folder / name).is_file()}
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in contents.items()]
    api, repository = HfApi(library_name="scn"), found[1]
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        commit = api.create_commit(
            repository, operations, commit_message=f"{model.name} {version}".strip(), repo_type="model"
        )
    except Exception as error:  # the service's refusals, and whatever happens on the way there
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise UserError(
            f"{target}: the model can't be uploaded ({why}): check the name and the token (HF_TOKEN, or hf auth login)."
        ) from None
    return str(commit.commit_url)
