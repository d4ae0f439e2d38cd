"""The command `scn serve`."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated

import typer

from scn.core.errors import UserError
from scn.registry.command import PARAMS, ParamsFile

if TYPE_CHECKING:
    from scn.serving.jobs import Worker


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine reach 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8765,
    device: Annotated[
        list[str] | None, typer.Option(help="cpu, cuda:0, ...; several: one photograph on each. Default: all GPUs.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that compute; default: one a core. With --ray, of each replica; default: 1."),
    ] = None,
    megapixels: Annotated[float, typer.Option(min=0.01, help="Largest result, in megapixels.")] = 100.0,
    upload_mib: Annotated[int, typer.Option(min=1, help="Largest file, in MiB.")] = 256,
    queue: Annotated[int, typer.Option(min=1, help="So many photographs wait at most.")] = 64,
    keep_minutes: Annotated[float, typer.Option(min=1, help="Results are deleted after so many minutes.")] = 60.0,
    on_ray: Annotated[
        bool, typer.Option("--ray", help="Restore on a Ray cluster (RAY_ADDRESS), by as many replicas as it takes.")
    ] = False,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --ray, so many at most; default: one a GPU of the cluster, or as many as its CPUs allow."
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Restore photographs on a page in the browser; they stay on this machine."""
    import torch

    from scn.registry.reference import list_models
    from scn.serving.app import Limits
    from scn.serving.server import Settings, run
    from scn.serving.work import Restorer

    if on_ray and device:
        raise UserError("--ray takes the devices of the cluster's nodes: leave out --device.")
    if replicas and not on_ray:
        raise UserError("--replicas are those of a Ray cluster: give --ray too.")
    if threads:
        torch.set_num_threads(threads)
    entries = list_models(params_file=params)
    if not entries:
        raise UserError("There is no model to restore with: publish one (`make run` trains three).")
    gpus = [] if on_ray else [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    devices = device or gpus or ["cpu"]
    restorers = [Restorer(each, params) for each in devices]
    for restorer in restorers:
        restorer.models.load(entries[0].reference)  # a device that can't be used is told now
    with ExitStack() as until_the_end:
        workers: Sequence[Worker] = restorers
        if on_ray:
            from scn.serving.cluster import Cluster, Scale

            cluster = until_the_end.enter_context(
                closing(Cluster(restorers[0], Scale(most=replicas, threads=threads or 1)))
            )
            workers = cluster.workers()
        run(
            restorers[0],
            lambda: list_models(params_file=params),
            Settings(host=host, port=port, most=queue, keep_s=keep_minutes * 60, show=show),
            Limits(megapixels=megapixels, upload_mib=upload_mib),
            workers,
        )
