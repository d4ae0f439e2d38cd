"""The model handle: one object for a shipped, published or local model."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, Self, cast, overload

import torch
from PIL import Image
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.core.schema import unknown
from scn.core.version import project_version
from scn.imaging.image_io import Photograph
from scn.imaging.tasks import TASKS, Task
from scn.inference.apply import prepare
from scn.inference.arrays import Array, of_any_kind
from scn.inference.export import Exported, export_onnx
from scn.inference.model_config import CARD, METRICS, WEIGHTS, unknown_model
from scn.inference.model_files import load_model
from scn.inference.precision import autocast, exact
from scn.inference.records import Metrics
from scn.inference.restore import Done, Options, restore_photograph
from scn.networks.base.layers import RestorationNetwork


class Model:
    """A trained model, ready to restore: call it with a tensor, or `restore` an image.

    It can be pickled and copied; what `compile` made, or `apply_through` was given, stays behind. A copy is on the same
    device, and what was pickled on the CPU, as another machine may have no GPU.

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

    _applied: Callable[[Tensor], Tensor] | None = None

    def __init__(self, folder: Path, device: torch.device | str | None = None, *, version: str = "") -> None:
        """Loads a model folder, which holds model.safetensors and config.json.

        Args:
            folder: a path on this machine.
            device: the device to compute on; None: a GPU if there is one.
            version: the version in the registry, such as "v3"; "" for none.
        Raises:
            UserError: if a file is missing or damaged, the network or its task is not known here, config.json does not
                say which task the model is for, or the device can't be used.
        """
        self.network: nn.Module
        self.network, self.config = load_model(folder)
        self.folder, self.version = folder, version
        self.to(device)
        self.network.requires_grad_(False)
        if (task := self.config.get("task")) is None:
            raise UserError(f"{folder}/config.json does not say which task the model is for: publish the model again.")
        if task not in TASKS:
            raise unknown_model(folder, f"its task is '{task}'")
        self.task: Task = TASKS[task]
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

    def to(self, device: torch.device | str | None) -> Self:
        """Computes on another device from now on; None: a GPU if there is one.

        Raises:
            UserError: if the device can't be used.
        """
        try:
            prepare(self.network, device)
        except (RuntimeError, AssertionError) as error:  # PyTorch's, for a device that it does not know or can't use
            what, why = device or "cuda", str(error).splitlines()[0].rstrip(".")
            if why.startswith("Expected one of"):  # and a list of twenty
                why = "PyTorch knows none of that kind"
            raise UserError(f"The device '{what}' can't be used ({why}): name another one, such as cpu.") from None
        return self

    def float(self) -> Self:
        """Computes in float32 from now on, as after loading; what a lower precision has rounded stays rounded."""
        return self._in(torch.float32)

    def double(self) -> Self:
        """Computes in float64 from now on."""
        return self._in(torch.float64)

    def half(self) -> Self:
        """Computes in float16 from now on, weights included."""
        return self._in(torch.float16)

    def bfloat16(self) -> Self:
        """Computes in bfloat16 from now on, weights included.

        `scn restore --precision bfloat16` keeps weights and sums in float32, and is closer to it.
        """
        return self._in(torch.bfloat16)

    def _in(self, dtype: torch.dtype) -> Self:
        self.network.to(dtype)
        return self

    def compile(self) -> Self:
        """Compiles the network by torch.compile, for tensors and for photographs that are restored as a whole.

        That is slow, and done again for another precision, for several images at once after a single one, and for sides
        that need no padding where others' did.

        Raises:
            UserError: if PyTorch can't compile here; on a CPU it needs a C++ compiler and Python's headers.
        """
        inner = torch.compile(self.network, dynamic=True)

        def compiled(images: Tensor) -> Tensor:
            # Of one kind whoever made them: outside inference_mode, or in another layout than photographs' and the
            # weights', they would be compiled for again.
            images = images.clone(memory_format=torch.channels_last)
            # Numbers that follow from sizes as constants: as inputs of a graph, PyTorch 2.13 fails at `%` of them.
            with torch._dynamo.config.patch(specialize_float=True):
                return cast(Tensor, inner(images))

        own = next(self.network.parameters())
        try:
            with torch.inference_mode():
                # More than 20,480 pixels: for fewer oneDNN computes otherwise, and it would be compiled again for more.
                compiled(torch.zeros(1, self.channels, 153, 170, dtype=own.dtype, device=own.device))
        except Exception as error:  # whatever the compiler, or what it calls, meets
            lines = [line for line in str(error).strip().splitlines() if not line.startswith("backend=")]
            why = lines[0].rstrip(".:") if lines else type(error).__name__
            raise UserError(
                f"PyTorch can't compile the network here ({why}): install a C++ compiler and Python's headers, or "
                "leave it as it is."
            ) from None
        self._applied = compiled
        return self

    def apply_through(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Tensors, and photographs that are restored as a whole, go through `function` in place of the network.

        It is called as the network is, from any thread, and may compute several threads' images together.
        """
        self._applied = function
        return self

    def export(self, format: Literal["onnx"], file: Path | str) -> Exported:
        """Writes the model as one ONNX file, for images of any size, and compares what onnxruntime computes with it.

        The graph computes what `model(images)` does: float32 (N, C, H, W), named `image`, to (N, C, sH, sW), named
        `restored`. Metadata of the file: task, level, scale, channels, value_range, network, weights_sha256 and
        scn_version.

        Raises:
            UserError: as scn.inference.export.export_onnx; for another format; or if weights are not those of the
                folder, which the metadata name, as after `half` and `float`.
        """
        if format != "onnx":
            raise UserError(f"{unknown(format, ('onnx',), 'format of exports')}.")
        own, loaded = self.network.state_dict(), load_model(self.folder)[0].state_dict()
        if not all(torch.equal(own[key].to(tensor), tensor) for key, tensor in loaded.items()):
            raise UserError(
                f"The model's weights are not those of {self.folder / WEIGHTS} any more, such as after a conversion "
                "from float32 by half(): load it again."
            )
        about = {
            "task": self.task.name,
            "level": "" if self.level is None else self.level,
            "scale": self.scale,
            "channels": self.channels,
            "value_range": "0 1",
            "network": self.config["architecture"]["name"],
            "weights_sha256": file_sha256(self.folder / WEIGHTS),
            "scn_version": project_version(),
        }
        return export_onnx(cast(RestorationNetwork, self.network), about, Path(file))

    def __getstate__(self) -> dict[str, Any]:
        on_cpu = all(tensor.device.type == "cpu" for tensor in self.network.state_dict().values())
        return {**self._kept(), "network": self.network if on_cpu else deepcopy(self.network).cpu()}

    def __copy__(self) -> Self:
        return self._with(self._kept())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._with(deepcopy(self._kept(), memo))

    def _kept(self) -> dict[str, Any]:
        return {**self.__dict__, "_applied": None}

    def _with(self, state: dict[str, Any]) -> Self:
        copy = object.__new__(type(self))
        copy.__dict__.update(state)
        return copy

    def __call__(self, images: Tensor) -> Tensor:
        """Applies the network to a batch of images, without gradients.

        Args:
            images: (N, C, H, W) of any floating point type, 0 is black, 1 is white; noise may leave that range.
        Returns:
            (N, C, sH, sW), clipped to [0, 1], of the type and on the device of `images`; s is `scale`. It is computed
            in float32, or what `half` and others have asked for.
        Raises:
            UserError: for another type or shape, or values that are not finite or not between -1 and 2.
        """
        if not isinstance(images, Tensor) or not images.is_floating_point():
            what = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise UserError(
                f"The network takes a floating point tensor (N, C, H, W) with values in [0, 1], not {what}: convert it."
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
        own = next(self.network.parameters())
        function = self.network if self._applied is None else self._applied
        with torch.inference_mode(), exact(), autocast(own.device, "float32"):  # whatever the caller's autocast says
            result = function(images.to(own.device, own.dtype))
        # Outside, or the caller could neither change the tensor in place nor train with it.
        return result.clamp(0, 1).to(images.device, images.dtype)

    @overload
    def restore(self, image: Array, *, tile: int | None = None, self_ensemble: bool = False) -> Array: ...
    @overload
    def restore(
        self, image: Image.Image | str | Path, *, tile: int | None = None, self_ensemble: bool = False
    ) -> Image.Image: ...
    def restore(self, image: Any, *, tile: int | None = None, self_ensemble: bool = False) -> Any:
        """Restores a photograph of any size, or several of one size.

        Args:
            image: a NumPy array (H, W), (H, W, C) or (N, H, W, C), or a tensor (H, W), (C, H, W) or (N, C, H, W), with
                C = 1 (grey), 3 (RGB) or 4 (with alpha), of uint8, uint16 or floating point, where 0 is black and 255,
                65535 or 1 is white; a Pillow image; or the path of a file.
            tile: a photograph of more than tile x tile pixels is restored in parts; None: as large as memory allows.
            self_ensemble: True: the mean over the 8 flips and rotations, a little better, in 8 times the time.
        Returns:
            an image of the same kind and type, `scale` times as high and wide; for a path a Pillow image (of 8 bits).
            Of Pillow's modes I;16 stays, others become L, LA, RGB or RGBA.
        Raises:
            UserError: for an image that can't be read or restored.
        """
        options = Options(tile=tile, self_ensemble=self_ensemble)
        return of_any_kind(lambda photograph, name: self.restore_photograph(photograph, name, options), image)

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
            whole=self._applied,
        )
