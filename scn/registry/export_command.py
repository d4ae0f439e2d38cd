"""The command `scn export`."""

from pathlib import Path
from typing import Annotated

import typer

from scn.registry.command import PARAMS, ParamsFile


def export(
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to write.")],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A model: see `scn models list`; or a folder.")
    ],
    params: ParamsFile = PARAMS,
) -> None:
    """Write a model as ONNX, for images of any size, and compare it with onnxruntime where that is installed."""
    from scn.core.errors import UserError
    from scn.registry.reference import load

    if out.suffix != ".onnx":
        is_folder = out.is_dir() or not out.name
        other = out / f"{Path(model).name or 'model'}.onnx" if is_folder else out.with_suffix(".onnx")
        raise UserError(f"{out}: an export is an ONNX file: name it {other}.")
    found = load(model, "cpu", params_file=params).export("onnx", out)
    compared = (
        "not compared, as onnxruntime is not installed (pip install 'scn[onnx]')"
        if found.difference is None
        else f"onnxruntime's values differ from PyTorch's by {found.difference:.1e} at most"
    )
    print(f"{found.file}: {compared}")
