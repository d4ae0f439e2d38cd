"""What a worker of Ray Train does: one process of a run, which Ray Train has joined with the others."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scn.config.params import Experiment
from scn.core.errors import Stopped, UserError
from scn.core.nodes import common, refusal
from scn.launch.messages import HasFailed, Joined, Order, WasStopped, signs_of_life
from scn.shards.manifest import EvaluationManifest, TrainingManifest
from scn.storage import open_store
from scn.storage.base import StoreError
from scn.training.callbacks import Event, Logged, Measured, Noticed, Resumed, Row, Saved, Started
from scn.training.loop import Run, train
from scn.training.validation import Validated
from scn.training.world import World


def described(run: Run) -> dict[str, Any]:
    """Describes a run so that it can be sent to the workers; `work` also takes `mailbox` and `threads`."""
    return {
        "experiment": run.experiment.model_dump(),
        "manifest": run.manifest.model_dump(),
        "evaluation": run.evaluation.model_dump() if run.evaluation else None,
        "store": run.store.url,
        "root": str(run.root.resolve()),
        "start_sha256": run.start_sha256,
        "launch": run.launch,
        "code_sha256": run.identity["code_sha256"],
        "needed": common(),
    }


def work(config: dict[str, Any]) -> None:
    """Trains as one process of the run that `described` gave; the driver hears of it through the mailbox.

    Args:
        config: the run; `mailbox`, the handle of the actor Mailbox; `threads`, PyTorch's threads in each worker.
    Raises:
        UserError: for the driver, which may start the workers again.
    """
    import ray
    import ray.train.torch

    mailbox = config["mailbox"]
    context = ray.train.get_context()
    world = World(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=ray.train.torch.get_device(),
        threads=config["threads"],
    )
    leads = world.rank == 0
    with signs_of_life(mailbox, world.rank):
        try:
            here = ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id()
            ray.get(mailbox.tell.remote(Joined(world.rank, *here)))
            run = _run(config)
            train(run, world, _Teller(mailbox, leads), Order(mailbox))
            if leads:
                run.checkpoints.hand_over()  # the driver, which may be on another machine, takes the result
            if context.get_local_rank() == 0:
                run.checkpoints.remove_ended()
        except Stopped as stopped:
            if leads:
                ray.get(mailbox.tell.remote(WasStopped(str(stopped))))
        except StoreError:
            raise  # nothing is lost, and it may be over in a moment: the driver starts the workers again
        except UserError as error:
            ray.get(mailbox.tell.remote(HasFailed(str(error))))
            if world.world_size > 1:
                raise  # the others may be waiting for this one


class _Teller:
    """Callbacks of a worker; on rank 0 each call goes to the driver, through the mailbox."""

    def __init__(self, mailbox: Any, leads: bool) -> None:
        self._mailbox, self._leads = mailbox, leads

    def on_start(self, how: str) -> None:
        self._tell(Started(how))

    def on_resume(self, step: int, rows: Sequence[Row]) -> None:
        self._tell(Resumed(step, rows))

    def on_log(self, row: Row) -> None:
        self._tell(Logged(row))

    def on_validation(self, step: int, result: Validated) -> None:
        self._tell(Measured(step, result))

    def on_checkpoint(self, step: int) -> None:
        self._tell(Saved(step))

    def on_notice(self, sentence: str) -> None:
        self._mailbox.tell.remote(Noticed(sentence))  # from any rank

    def _tell(self, event: Event) -> None:
        import ray

        if self._leads:
            ray.get(self._mailbox.tell.remote(event))


def _run(config: dict[str, Any]) -> Run:
    """The run that the driver described; the project's folder is made where this machine does not have it."""
    if refused := refusal(config["needed"]):
        raise refused
    root = Path(config["root"])
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{root}, the folder for checkpoints and shards, can't be made on {socket.gethostname()} "
            f"({error.strerror}): let the cluster's user write there, or train in a folder that every node can make."
        ) from None
    evaluation = config["evaluation"]
    run = Run(
        experiment=Experiment.model_validate(config["experiment"]),
        manifest=TrainingManifest.model_validate(config["manifest"]),
        evaluation=EvaluationManifest.model_validate(evaluation) if evaluation else None,
        store=open_store(config["store"], root),
        root=root,
        start_sha256=config["start_sha256"],
        launch=config["launch"],
    )
    if run.identity["code_sha256"] != config["code_sha256"]:
        raise UserError(
            f"{socket.gethostname()} has other code of this project than the machine that started the run: install the "
            "same commit on all nodes."
        )
    return run
