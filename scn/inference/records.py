"""Records of a model in files: its figures, and where it was published; imports no PyTorch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from scn.core.errors import UserError

_EARLIER = {
    "sr: luma, 8 bits, frame of scale pixels cropped": "sr-y-v1",
    "dn: grey, full range, 8 bits, no crop": "dn-grey-v1",
    "car: luma, 8 bits, no crop": "car-y-v1",
}
"""Words that versions which were published before protocols had names have in place of one -> its name."""


class Record(BaseModel):
    """A JSON file about a model, or part of one; keys that another version of the project writes are passed over."""

    model_config = ConfigDict(frozen=True, strict=True)

    @classmethod
    def loads(cls, data: bytes, path: Path, cure: str) -> Self:
        """The record that a file holds.

        Args:
            path: the file, for the message.
            cure: what to do if it holds something else, for the message.
        Raises:
            UserError: if it holds something else.
        """
        try:
            return cls.model_validate(cls._of_file(json.loads(data)))
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")
            why = ": ".join(filter(None, [".".join(map(str, first["loc"])), message[0].lower() + message[1:]]))
        except (ValueError, RecursionError) as error:  # of thousands of brackets
            why = str(error)
        raise UserError(f"{path} holds no {cls.__name__.lower()} ({why}): {cure}.")

    def dumps(self) -> bytes:
        """The content of the file; the same for equal records."""
        return (json.dumps(self._to_file(), indent=1, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def _of_file(content: Any) -> Any:
        return content

    def _to_file(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class Figures(Record):
    """How close images are to the originals."""

    psnr: float
    """In dB."""
    ssim: float
    """SSIM with the 11x11 Gaussian window, from -1 to 1, which is the same image."""
    ssim8: float | None = None
    """SSIM with a uniform 8x8 window; None where the protocol does not have it."""
    psnr_b: float | None = None
    """PSNR-B in dB, which counts block edges as errors; None where the protocol does not have it."""
    lpips: float | None = None
    """LPIPS, 0 is the same image; None where it is not installed or the protocol does not have it."""
    dists: float | None = None
    """DISTS, 0 is the same image; None where it is not installed or the protocol does not have it."""

    def __str__(self) -> str:
        """`33.66 / 0.9299`, as the papers print them."""
        return f"{self.psnr:.2f} / {self.ssim:.4f}"


class SetFigures(Record):
    """Means over the images of one evaluation set."""

    input: Figures
    """The degraded images, as a viewer sees them."""
    model: Figures
    ensemble: Figures
    """The model with geometric self-ensemble."""
    further: Mapping[str, Mapping[str, Figures]] | None = None
    """Further protocol of the task -> input, model and ensemble -> figures; None where there is none."""


class Provenance(Record):
    """The protocol, data, weights and code that figures were measured with."""

    protocol: str
    """The name of the task's first protocol (scn.evaluation.protocols)."""
    precision: str | None = None
    """The precision that the network computed in; files of early versions do not say."""
    device: str | None = None
    """Kind of the device that computed ("CPU, AVX512", or a GPU's name), of several "; " between them."""
    data_sha256: str
    """Names the images: EvaluationManifest.sha256."""
    weights_sha256: str
    """SHA-256 of model.safetensors."""
    code_sha256: str
    """SHA-256 of the sources that decide the figures of input and model."""
    images: dict[str, int]
    """Evaluation set -> how many images it has."""
    sets_sha256: dict[str, str] | None = None
    """Evaluation set -> names its images: ImageSet.content; files of early versions do not say."""
    ensemble_code_sha256: str | None = None
    """The same as code_sha256, when self-ensemble was measured."""

    @field_validator("protocol")
    @classmethod
    def _named(cls, protocol: str) -> str:
        return _EARLIER.get(protocol, protocol)


class Metrics(Record):
    """The content of metrics.json in the folder of a version."""

    sets: Mapping[str, SetFigures]
    """Evaluation set -> its figures."""
    provenance: Provenance

    def for_dvc(self) -> dict[str, Any]:
        """Returns the figures alone, under the task's first protocol: a column each in `dvc metrics show`."""
        return {name: figures.model_dump(exclude_none=True, exclude={"further"}) for name, figures in self.sets.items()}

    @model_validator(mode="after")
    def _counted(self) -> Self:
        for name in self.sets:
            if name not in self.provenance.images:
                raise ValueError(f"it does not say how many images {name} has")
        return self

    @staticmethod
    def _of_file(content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        sets = {name: figures for name, figures in content.items() if name != "provenance"}
        return {"sets": sets, **{key: content[key] for key in content if key == "provenance"}}

    def _to_file(self) -> dict[str, Any]:
        about = self.model_dump(exclude_none=True)
        return {**about["sets"], "provenance": about["provenance"]}


class Receipt(Record):
    """Where a version was published: the content of published/<E>.json."""

    experiment: str
    version: str
    """The version, such as "v3"."""
    url: str
    """The version's folder in the store."""
    manifest_sha256: str
    weights_sha256: str | None = None
    """SHA-256 of the version's weights; None: the receipt is of an scn that did not note it."""


def chosen_on(config: Mapping[str, Any]) -> list[str]:
    """The evaluation sets by which a model's weights were chosen among those of its training (train.take_best_on)."""
    recipe = (config.get("identity") or {}).get("train") or {}
    return list(recipe["take_best_on"]) if recipe.get("take_best_every") else []
