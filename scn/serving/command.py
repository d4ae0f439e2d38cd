"""The command `scn serve`."""

from pathlib import Path
from typing import Annotated

import typer

from scn.core.errors import UserError


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine reach 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8765,
    device: Annotated[
        list[str] | None, typer.Option(help="cpu, cuda:0, ...; several: one photograph on each. Default: all GPUs.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that compute; default: one a core.")] = None,
    megapixels: Annotated[float, typer.Option(min=0.01, help="Largest result, in megapixels.")] = 100.0,
    upload_mib: Annotated[int, typer.Option(min=1, help="Largest file, in MiB.")] = 256,
    queue: Annotated[int, typer.Option(min=1, help="So many photographs wait at most.")] = 64,
    keep_minutes: Annotated[float, typer.Option(min=0, help="Results are deleted after so many minutes.")] = 60.0,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    params: Annotated[Path, typer.Option("--params", help="The configuration file.", show_default=True)] = Path(
        "params.yaml"
    ),
) -> None:
    """Restore photographs on a page in the browser; they stay on this machine."""
    import torch

    from scn.registry.reference import list_models
    from scn.serving.app import Limits
    from scn.serving.server import Settings, run
    from scn.serving.work import Restorer

    if threads:
        torch.set_num_threads(threads)
    entries = list_models(params_file=params)
    if not entries:
        raise UserError("There is no model to restore with: publish one (`make run` trains three).")
    devices = device or [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    restorers = [Restorer(each, params) for each in devices]
    for restorer in restorers:
        restorer.models.load(entries[0].reference)  # a device that can't be used is told now
    run(
        restorers,
        lambda: list_models(params_file=params),
        Settings(host=host, port=port, most=queue, keep_s=keep_minutes * 60, show=show),
        Limits(megapixels=megapixels, upload_mib=upload_mib),
    )
