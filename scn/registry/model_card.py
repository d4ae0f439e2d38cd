"""The README.md of a published version: a model card."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.corpora.licences import licence_in
from scn.evaluation.protocols import protocol
from scn.evaluation.report import markdown_table
from scn.inference.model_config import BEGINNING, inherited_corpora
from scn.inference.records import Metrics, chosen_on
from scn.networks import NETWORKS
from scn.shards.manifest import evaluation_manifest, training_manifest

APART = "None of its images was trained on: `data-prep shard` compared their content (docs/corpora.md)."
APART_HERE = (
    "None of its images was trained on here: `data-prep shard` compared their content (docs/corpora.md), but not with "
    "what the weights that it began with were trained on."
)
NOT_COMPARED = "Whether one of its images was trained on was not looked at here."


def kept_apart(params: Params, name: str, metrics: Metrics, config: Mapping[str, Any]) -> bool:
    """Whether one `data-prep shard` made the images that the model was trained on and those that it was measured on.

    It compares them, and no training image shows what is measured on. False where the manifests in shards/ are missing,
    or those of other images.
    """
    try:
        trained, measured = training_manifest(params, name).sha256, evaluation_manifest(params, name).sha256
    except UserError:
        return False
    return (config.get("identity", {}).get("manifest"), metrics.provenance.data_sha256) == (trained, measured)


def licences(params: Params, name: str, config: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Training corpus -> licence of its images as its index (indexes/<corpus>.json) has it, for the experiment `name`.

    Corpora whose licence is not known, such as folders of one's own, are left out, even if one is called like a corpus.

    Args:
        config: the content of the model's config.json, which tells what it was trained on and began with.
    """
    config = config or {}
    trained_on = config.get("training_corpora") or dict.fromkeys(params.experiment(name).data.train)
    found = {}
    for reference, sha256 in [*trained_on.items(), *inherited_corpora(config)[0].items()]:
        file = params.root / "indexes" / f"{reference.partition('/')[0]}.json"
        with suppress(OSError, ValueError):
            if licence := licence_in(json.loads(file.read_bytes()), reference, sha256):
                found[reference] = licence
    return found


def model_card(
    experiment: Experiment,
    metrics: Metrics,
    config: Mapping[str, Any],
    licences: Mapping[str, str] | None = None,
    *,
    kept_apart: bool = False,
) -> str:
    """Markdown that says what the model does, what it was trained on, what it reaches and how to use it.

    The same arguments give the same card at any time and place: a version counts as new if its card differs.

    Args:
        metrics: the model's figures.
        config: the content of the model's config.json.
        licences: training corpus -> licence of its images, where it is known.
        kept_apart: whether what was trained on was compared with what was measured (`kept_apart`).
    """
    task, model, provenance = experiment.task, experiment.model, metrics.provenance
    rows = [
        (name, str(provenance.images[name]), str(figures.input), str(figures.model), str(figures.ensemble))
        for name, figures in metrics.sets.items()
    ]
    header = ("evaluation set", "images", task.degraded_name, "model", "self-ensemble")
    size = f"{experiment.scale} times the height and width" if experiment.scale > 1 else "the same height and width"
    channels = "3 channels (RGB)" if task.image_channels == 3 else "1 channel"
    apart = NOT_COMPARED
    if kept_apart:
        apart = APART if inherited_corpora(config) == ({}, True) else APART_HERE
    parameters = ", ".join(f"{key} {value}" for key, value in model.model_dump(exclude={"name", *BEGINNING}).items())
    known = NETWORKS[model.name]
    network = f"{known.title} ({known.paper}, section {known.section}): {parameters}."
    return f"""# {experiment.name}: {task.title}, {task.level_name} {experiment.level}

{network}

## Use

    scn restore IN OUT --model {experiment.name}

or in Python, with images as float32 (N, C, H, W), 0 is black, 1 is white:

    import scn
    network = scn.load("{experiment.name}")
    restored = network(images)

Input: {channels}. Output: the same channels, {size}.
It {_made_for(config)} images degraded by {_degradation(experiment, config)}; of other degradations expect less.

## Training data

{_training_data(experiment, config, licences or {})}
{_made_again(experiment.name, config)}
## Figures

PSNR in dB / SSIM, means over each evaluation set. {apart}{_chosen(config)}
Protocol: {provenance.protocol} ({protocol(provenance.protocol).title}); docs/protocols.md explains it.

{markdown_table(header, rows)}

## Provenance

- data (shard manifest), SHA-256 `{provenance.data_sha256}`
- weights (model.safetensors), SHA-256 `{provenance.weights_sha256}`
- code that measured it, SHA-256 `{provenance.code_sha256}`
{_made_by(config)}"""


def _made_for(config: Mapping[str, Any]) -> str:
    return "is measured here on" if "imported" in config else "was trained on"


def _training_data(experiment: Experiment, config: Mapping[str, Any], licences: Mapping[str, str]) -> str:
    if imported := config.get("imported"):
        return (
            f"Not known here: the weights were imported from a file of the format {imported['format']}, SHA-256 "
            f"`{imported['sha256']}`. Its publisher's licence decides what they may be used for."
        )

    def told(corpora: Mapping[str, str]) -> str:
        return "\n".join(_corpus(name, sha256, licences.get(name)) for name, sha256 in corpora.items())

    parts = [told(config.get("training_corpora") or dict.fromkeys(experiment.data.train, ""))]
    inherited, known = inherited_corpora(config)
    if inherited:
        parts.append(f"The weights that it began with were trained on:\n\n{told(inherited)}")
    if not known:
        parts.append("What else the weights that it began with were trained on is not known here.")
    parts.append("The licences of these images decide what the weights may be used for.")
    return "\n\n".join(parts)


def _corpus(name: str, sha256: str, licence: str | None) -> str:
    told = [
        f"`{name}`",
        f"licence: {licence or 'not known'}",
        *([f"SHA-256 of its images `{sha256}`"] if sha256 else []),
    ]
    return "- " + ", ".join(told)


def _chosen(config: Mapping[str, Any]) -> str:
    """A line that says on what the best weights were chosen; "" where the last ones were taken."""
    sets = ", ".join(chosen_on(config))
    if not sets:
        return ""
    steps, every = config["steps"], config["identity"]["train"]["take_best_every"]
    count = -(-steps // every) + bool(config.get("start_from"))  # the weights that it began with may be the best
    return f"\nIts weights are the best of {count} validations on {sets}: figures there are too high for other images."


def _made_again(name: str, config: Mapping[str, Any]) -> str:
    """The section that says what the training took and which command repeats it; "" for an imported model."""
    recipe = config.get("identity", {}).get("train")
    if recipe is None:
        return ""
    began = {**config["architecture"], **config["identity"].get("architecture", {})}  # how, only the identity says
    model = {key: value for key, value in began.items() if key not in ("channels", "scale")}
    settings = {"model": model, "train": recipe}
    lines = [f"scn train --experiment {name} --plain"]
    lines += [
        f"--set '{section}.{key}={json.dumps(value)}'"
        for section in settings
        for key, value in settings[section].items()
    ]
    lines += [f"--set 'start_from={config['start_from']}'"] if config.get("start_from") else []
    took = [f"{config['steps']} steps"]
    took += [f"{config['seconds']} s"] if "seconds" in config else []
    took += [f"on {config['machine']}"] if "machine" in config else []
    took += [f"at commit `{config['commit']}`"] if config.get("commit") else []
    command = " \\\n      ".join(lines)
    return f"""
## Made by

{", ".join(took)}:

    {command}

after `data-prep shard --experiment {name} --out shards/{name}` with the corpora above in `data.train`.
"""


def _made_by(config: Mapping[str, Any]) -> str:
    """A line for each change of code, versions or device during the training, with the first step done by it."""
    lines = []
    for made in config.get("made_by", []):
        versions = made["versions"]
        lines.append(
            f"- trained from step {made['step']} by code `{made['code_sha256']}`, scn {versions['scn']}, "
            f"PyTorch {versions['torch']}, {versions['device']}\n"
        )
    start = config.get("start_from")
    if start:
        lines.append(f"- started from `{start}`, SHA-256 `{config['identity']['start_from']}`\n")
    if len({made["code_sha256"] for made in config.get("made_by", [])}) > 1:
        lines.append("- **more than one code trained it** (`--resume-anyway`): no commit makes these weights again\n")
    return "".join(lines)


def _degradation(experiment: Experiment, config: Mapping[str, Any]) -> str:
    kinds = {
        "bicubic": "MATLAB's bicubic imresize",
        "jpeg": "a JPEG encoder",
        "noise": "additive white Gaussian noise",
    }
    task = experiment.task
    repeated = task.degradation == "bicubic" and (config.get("edges") or experiment.data.edges) == "replicate"
    older = ", an older one that repeats the edge pixel" if repeated else ""
    return f"{kinds[task.degradation]} ({task.level_name} {experiment.level}{older})"
