"""The model handle: one object for a shipped, published or local model."""

from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.imaging.image_io import Photograph, photograph_of, read_photograph
from scn.imaging.tasks import TASKS, Task
from scn.inference.apply import prepare
from scn.inference.model_files import CARD, METRICS, load_model
from scn.inference.precision import exact
from scn.inference.records import Metrics
from scn.inference.restore import Done, Options, restore_photograph


class Model:
    """A trained model, ready to restore: call it with a tensor, or `restore` an image.

    Attributes:
        task: what it restores; `Task.name` is "sr", "dn" or "car".
        level: the degradation it was trained for: scale factor, sigma (of 255) or JPEG quality; None if not known.
        scale: the result's height and width, relative to the input's.
        channels: the number of channels of its images, 3 (RGB) or 1 (grey).
        network: the torch module, in eval mode, without gradients.
        version: "v3" of a published model; "" of a folder.
        metrics: its figures with their provenance, from metrics.json; None if it was not measured.
        card: the model card (Markdown), or "".
        config: the content of config.json: architecture, identity, what trained it.
    """

    def __init__(self, folder: Path, device: torch.device | str | None = None, *, version: str = "") -> None:
        """Loads a model folder, which holds model.safetensors and config.json.

        Args:
            folder: a path on this machine.
            device: the device to compute on; None: a GPU if there is one.
            version: the version in the registry, such as "v3"; "" for none.
        Raises:
            UserError: if a file is missing or damaged, does not say which task the model is for, or the device can't
                be used.
        """
        network, self.config = load_model(folder)
        self.folder, self.version = folder, version
        try:
            self.network: nn.Module = prepare(network, device).requires_grad_(False)
        except (RuntimeError, AssertionError) as error:  # PyTorch's, for a device that it does not know or can't use
            what, why = device or "cuda", str(error).splitlines()[0].rstrip(".")
            raise UserError(f"The device '{what}' can't be used ({why}): name another one, such as cpu.") from None
        if str(self.config.get("task")) not in TASKS:
            raise UserError(f"{folder}/config.json does not say which task the model is for: publish the model again.")
        self.task: Task = TASKS[self.config["task"]]
        self.level: int | None = self.config.get("level")
        self.scale: int = self.config["architecture"].get("scale", 1)
        self.channels: int = self.config["architecture"].get("channels", 3)

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r}, task={self.task.name!r}, level={self.level}, scale={self.scale})"

    @property
    def metrics(self) -> Metrics | None:
        """The model's figures with their provenance; None if it was not measured, UserError if they are damaged."""
        path = self.folder / METRICS
        return Metrics.loads(path.read_bytes(), path, "fetch the model again") if path.is_file() else None

    @property
    def card(self) -> str:
        """The model card, Markdown; "" if the folder has none."""
        path = self.folder / CARD
        return path.read_text() if path.is_file() else ""

    def __call__(self, images: Tensor) -> Tensor:
        """Applies the network to a batch of images, without gradients.

        Args:
            images: float32 (N, C, H, W), 0 is black, 1 is white; noise may leave that range.
        Returns:
            float32 (N, C, sH, sW), clipped to [0, 1], on the device of `images`; s is `scale`.
        Raises:
            UserError: for another type or shape, or values that are not finite or not between -1 and 2.
        """
        if not isinstance(images, Tensor) or images.dtype != torch.float32:
            what = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise UserError(
                f"The network takes a float32 tensor (N, C, H, W) with values in [0, 1], not {what}: convert it."
            )
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise UserError(
                f"The network takes images (N, {self.channels}, H, W), not of shape {tuple(images.shape)}: add what is "
                "missing, or take another model."
            )
        if images.numel() and not bool(((images > -1) & (images < 2)).all()):  # NaN is neither; noise may leave [0, 1]
            low, high = images.min().item(), images.max().item()
            raise UserError(
                f"The network takes values in [0, 1], not {low:g} to {high:g}: divide 8-bit values by 255 first."
            )
        device = next(self.network.parameters()).device
        with torch.inference_mode(), exact():
            return self.network(images.to(device)).clamp(0, 1).to(images.device)

    @overload
    def restore(
        self, image: NDArray[np.uint8], *, tile: int | None = None, self_ensemble: bool = False
    ) -> NDArray[np.uint8]: ...
    @overload
    def restore(
        self, image: NDArray[np.uint16], *, tile: int | None = None, self_ensemble: bool = False
    ) -> NDArray[np.uint16]: ...
    @overload
    def restore(
        self, image: Image.Image | str | Path, *, tile: int | None = None, self_ensemble: bool = False
    ) -> Image.Image: ...
    def restore(
        self,
        image: NDArray[np.uint8] | NDArray[np.uint16] | Image.Image | str | Path,
        *,
        tile: int | None = None,
        self_ensemble: bool = False,
    ) -> NDArray[np.uint8] | NDArray[np.uint16] | Image.Image:
        """Restores a photograph of any size.

        Args:
            image: a NumPy array of 8 or 16 bits, (H, W), (H, W, 3) or (H, W, 4), a Pillow image, or the path of a
                file.
            tile: a photograph of more than tile x tile pixels is restored in parts; None: as large as memory allows.
            self_ensemble: True: the mean over the 8 flips and rotations, a little better, in 8 times the time.
        Returns:
            an image of the same kind, `scale` times as high and wide; for a path a Pillow image (of 8 bits).
        Raises:
            UserError: for an image that can't be read or restored.
        """
        name = "the image"
        if isinstance(image, str | Path):
            name = str(image)
            photograph = read_photograph(Path(image))
        elif isinstance(image, Image.Image):
            photograph = photograph_of(image)
        else:
            photograph = _of_array(image)
        options = Options(tile=tile, self_ensemble=self_ensemble)
        restored = self.restore_photograph(photograph, name, options)
        if isinstance(image, np.ndarray):
            parts = [restored.pixels] if restored.alpha is None else [restored.pixels, restored.alpha[..., None]]
            joined: Any = np.concatenate(parts, axis=-1)
            return joined.reshape(*restored.pixels.shape[:2], *[-1][: image.ndim - 2])
        return restored.image()

    def restore_photograph(
        self,
        photograph: Photograph,
        name: str = "the image",
        options: Options | None = None,
        done: Done = lambda pixels: None,
    ) -> Photograph:
        """Restores a photograph that scn.imaging.image_io has read; errors call it `name`; `done` counts pixels."""
        return restore_photograph(
            photograph,
            self.network,
            self.config["architecture"],
            self.task.on_colour,
            options,
            name=name,
            model=str(self.folder),
            done=done,
        )


def _of_array(pixels: Any) -> Photograph:
    if not isinstance(pixels, np.ndarray) or pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3):
        what = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UserError(
            f"An image is a uint8 or uint16 array (H, W) or (H, W, 3), a Pillow image or a path, not {what}: convert "
            "it first."
        )
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
        raise UserError(f"An image has 1, 3 or 4 channels last, not the shape {pixels.shape}: convert it first.")
    colours = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    return Photograph(pixels=np.ascontiguousarray(colours), alpha=alpha, icc_profile=None)
