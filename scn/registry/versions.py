"""One version of a model, as files: the registry publishes them, the zoo ships them, and both verify them.

model.safetensors, config.json    the network (scn.inference.model_files)
metrics.json                      its figures, with the hashes of data, weights and code
README.md                         the model card
manifest.json                     the SHA-256 of every other file; written last
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.evaluation.protocols import protocol
from scn.evaluation.results import Evaluation, figures_of, result_file
from scn.inference.model_config import CARD, CONFIG, METRICS, WEIGHTS, check_fits
from scn.registry.manifest import FORMAT, MANIFEST, Files, read_manifest, sha256
from scn.registry.model_card import kept_apart, licences, model_card

CIRCUMSTANCES = ("seconds", "machine", "commit")
"""What config.json says of a training that decides nothing: trained again, the same weights have others."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """The files of a version; nothing in them depends on when or where it is published."""

    experiment: str
    content: Mapping[str, bytes]
    """File name -> content, in the order in which they are written; manifest.json is not among them."""
    manifest: bytes
    """The content of manifest.json."""

    @staticmethod
    def of(experiment: str, content: Mapping[str, bytes]) -> "Version":
        """Returns the version with the files in `content`, and makes its manifest."""
        files: Files = {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in content.items()}
        manifest = json.dumps({"format": FORMAT, "experiment": experiment, "files": files}, indent=1) + "\n"
        return Version(experiment=experiment, content=content, manifest=manifest.encode())


def trained_version(params: Params, name: str, written: bytes | None = None) -> Version:
    """Returns the version that the project's models/<name> and evaluations/<name>/ensemble.json make.

    Args:
        written: content that takes the place of config.json's; None: what is there.
    Raises:
        UserError: if the model or its metrics are missing, or the metrics are those of other weights or of a protocol
            that is not known here.
    """
    from scn.inference.model_files import load_model  # and with it PyTorch, which `scn gc` does without

    experiment = params.experiment(name)
    model, measured = params.root / "models" / name, result_file(params.root, name, "ensemble")
    config = load_model(model)[1]  # never publish what can't be loaded
    if written is None:
        written = (model / CONFIG).read_bytes()
    else:
        config = json.loads(written)
    weights = (model / WEIGHTS).read_bytes()
    again = f"run `dvc repro ensemble@{name}`"
    try:
        metrics = figures_of(Evaluation.loads(measured.read_bytes(), measured, again))
    except FileNotFoundError:
        raise UserError(f"{measured} does not exist: {again}.") from None
    if metrics.provenance.weights_sha256 != sha256(weights):
        raise UserError(f"{measured} was measured with other weights than {model / WEIGHTS}: {again}.")
    try:
        protocol(metrics.provenance.protocol)
    except ValueError:
        raise UserError(
            f"{measured} was measured under {metrics.provenance.protocol}, which this code does not know: {again}."
        ) from None
    check_fits(config, model, experiment)
    card = model_card(
        experiment,
        metrics,
        config,
        licences(params, name, config),
        kept_apart=kept_apart(params, name, metrics, config),
    )
    content = {
        WEIGHTS: weights,
        CONFIG: written,
        METRICS: metrics.dumps(),
        CARD: card.encode(),
    }
    return Version.of(name, content)


def read_version(folder: Path) -> Version:
    """Reads and verifies the version in a folder.

    Raises:
        UserError: if it has no manifest.json, or a file is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name the folder of a published model.") from None
    files = read_manifest(manifest, str(path))
    verify(folder, files)
    return Version(
        experiment=str(json.loads(manifest).get("experiment")),
        content={name: (folder / name).read_bytes() for name in files},
        manifest=manifest,
    )


def verify(folder: Path, files: Files) -> None:
    """Raises UserError for the first file in `folder` that is missing or differs from the manifest's `files`."""
    for name, expected in files.items():
        if not (folder / name).is_file() or sha256((folder / name).read_bytes()) != expected["sha256"]:
            raise UserError(
                f"{folder / name} is missing or damaged (its SHA-256 is not the manifest's): fetch this version again."
            )
