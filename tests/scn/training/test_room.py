"""Memory does not suffice for a step, a network or a validation: one sentence says what helps, and no step is lost."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from named_pictures import experiment
from torch import Tensor

from scn.config.params import Params, load_params
from scn.core.errors import Stopped, UserError
from scn.data.image_pool import ImagePool
from scn.evaluation.images import Restorer
from scn.networks import network_config
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage.local import FileStore
from scn.training import gradients, learner, reduction
from scn.training.callbacks import Silent
from scn.training.loop import Run, train
from scn.training.room import finer, no_room_for_step, no_room_for_weights
from scn.training.world import World

Project = Callable[..., Params]
GPU = World(device=torch.device("cuda", 0))
NORMALISED = {"name": "dncnn", "layers": 3, "units": 4}
"""A network with batch normalisation."""


@pytest.mark.parametrize(
    ("settings", "workers", "parts"),
    [
        ({"batch_size": 64}, 1, 2),
        ({"batch_size": 64, "accumulate": 16}, 1, 32),
        ({"batch_size": 64, "accumulate": 64}, 1, None),
        ({"batch_size": 7}, 1, 7),
        ({"batch_size": 2 * 10007}, 1, 2),
        ({"batch_size": 10007}, 1, 10007),
        ({"batch_size": 24, "workers": 4, "accumulate": 2}, 4, 3),
        ({"batch_size": 24, "workers": 4, "min_workers": 2}, 3, 2),  # fewer than there were: both must be able to
        ({"batch_size": 64, "lanes": 8}, 2, 2),
        ({"batch_size": 64, "lanes": 8, "accumulate": 8}, 1, None),
        ({"batch_per_worker": 6, "batch_size": 24, "workers": 4}, 4, 2),
    ],
    ids=str,
)
def test_more_parts_are_as_many_as_split_the_batch(settings: dict[str, Any], workers: int, parts: int | None) -> None:
    of = experiment(**settings)
    assert finer(of, workers) == parts
    if parts:
        again = experiment(**{**settings, "accumulate": parts})
        again.check_split(workers)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"batch_size": 64, "patch_size": 96},
            "cuda:0 has no room for a step of sr-2, 64 patches of 96x96 at once: set run.accumulate to 2, which "
            "computes the same batch in smaller parts.",
        ),
        (
            {"batch_size": 64, "lanes": 8, "accumulate": 8},
            "cuda:0 has no room for a step of sr-2, 1 patch of 8x8 at once: lower train.patch_size, or take a smaller "
            "network (section model).",
        ),
    ],
)
def test_the_sentence_says_what_helps(settings: dict[str, Any], told: str) -> None:
    assert no_room_for_step(experiment(**settings), GPU) == told


def test_batch_normalisation_takes_no_parts() -> None:
    of = experiment("dn", 25, batch_size=8)
    of = of.model_copy(update={"model": network_config({"name": "dncnn", "batch_norm": True}, "model")})
    assert no_room_for_step(of, GPU).endswith("8 patches of 8x8 at once: take a smaller batch or train.patch_size.")


def test_weights_that_are_too_many() -> None:
    assert no_room_for_weights(experiment(ema_decay=0.9), GPU) == (
        "cuda:0 has no room for the weights of sr-2, its average and its optimiser: take a smaller network (section "
        "model), or end other programs there."
    )


def run_of(params: Params, *, validates: bool = False, **model: Any) -> Run:
    experiment = params.experiment("sr-x2")
    if model:
        experiment = experiment.model_copy(update={"model": network_config(model, "model")})
    return Run(
        experiment=experiment,
        manifest=training_manifest(params, "sr-x2"),
        evaluation=evaluation_manifest(params, "sr-x2") if validates else None,
        store=FileStore(params.root / "store"),
        root=params.root,
    )


def kept(run: Run) -> list[int]:
    return [name.step for name in run.checkpoints._here.names()]


def petabytes() -> Tensor:
    """What a CPU really says."""
    return torch.zeros(10**15)


def on_a_gpu() -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def fails_in(step: int, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], Tensor] = on_a_gpu) -> None:
    """Lets the forward pass of step `step` find no memory."""
    distance, calls = gradients.distance, iter(range(1000))

    def failing(*given: Any) -> Tensor:
        if next(calls) == step:
            return fail()
        return distance(*given)

    monkeypatch.setattr(gradients, "distance", failing)


@pytest.mark.parametrize("fail", [petabytes, on_a_gpu])
def test_a_step_without_room_keeps_those_before_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], Tensor]
) -> None:
    params = project("sr-x2", checkpoint_every=100)
    train(run_of(params), World(), Silent(), lambda: "")
    expected = run_of(params).checkpoints.load()
    run_of(params).checkpoints.begin(anew=True)
    with monkeypatch.context() as patched:
        fails_in(7, patched, fail)
        with pytest.raises(UserError) as error:
            train(run := run_of(params), World(), Silent(), lambda: "")
    assert str(error.value) == (
        "cpu has no room for a step of sr-x2, 4 patches of 16x16 at once: set run.accumulate to 2, which computes the "
        "same batch in smaller parts; the checkpoint of step 7 is kept."
    )
    assert kept(run) == [7]
    train(run_of(params), World(), Silent(), lambda: "")
    found = run_of(params).checkpoints.load()
    assert expected
    assert found
    assert all(torch.equal(tensor, found[1]["network"][name]) for name, tensor in expected[1]["network"].items())


def test_a_step_of_batch_normalisation_without_room_leaves_the_checkpoint_before_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its forward pass has changed the statistics that a new one would hold."""
    params = project("sr-x2", checkpoint_every=5)
    with monkeypatch.context() as patched:
        fails_in(7, patched)
        with pytest.raises(UserError, match=r"4 patches of 16x16 at once: .*; the checkpoint of step 5 is kept\.$"):
            train(run := run_of(params, **NORMALISED), World(), Silent(), lambda: "")
    assert max(kept(run)) == 5
    calls, cut = iter(range(9)), ImagePool.cut
    monkeypatch.setattr(ImagePool, "cut", lambda pool, part: petabytes() if next(calls) == 3 else cut(pool, part))
    with pytest.raises(UserError, match=r"besides the training images: .*; the checkpoint of step 8 is kept\.$"):
        train(run, World(), Silent(), lambda: "")  # before the step began


def test_the_first_step_without_room_leaves_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    params = project("sr-x2", accumulate=4)
    fails_in(0, monkeypatch)
    with pytest.raises(
        UserError, match=r"1 patch of 16x16 at once: lower train\.patch_size, or take a smaller"
    ) as error:
        train(run := run_of(params), World(), Silent(), lambda: "")
    assert "checkpoint" not in str(error.value)
    assert kept(run) == []


def test_patches_without_room(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    params = project("sr-x2")
    monkeypatch.setattr(ImagePool, "cut", lambda pool, part: petabytes())
    with pytest.raises(UserError, match=r"^cpu has no room for the 4 patches of 16x16 of a step of sr-x2, besides the"):
        train(run_of(params), World(), Silent(), lambda: "")


def test_a_checkpoint_without_room(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    params, stops = project("sr-x2"), iter(["", "now"])
    with pytest.raises(Stopped):
        train(run_of(params), World(), Silent(), lambda: next(stops))
    monkeypatch.setattr(torch.optim.Adam, "load_state_dict", lambda optimizer, state: on_a_gpu())
    with pytest.raises(UserError, match="cpu has no room for the weights of sr-x2 and its optimiser: take a smaller"):
        train(run_of(params), World(), Silent(), lambda: "")


def test_the_optimiser_without_room(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    params = project("sr-x2")
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: on_a_gpu())
    with pytest.raises(UserError, match="cpu has no room for the weights of sr-x2 and its optimiser: take a smaller"):
        train(run_of(params), World(), Silent(), lambda: "")


def test_a_network_without_room(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    params = project("sr-x2", ema_decay=0.9)
    monkeypatch.setattr(learner, "build", lambda *given, **options: petabytes())
    with pytest.raises(
        UserError, match="cpu has no room for the weights of sr-x2, its average and its optimiser: take"
    ):
        train(run_of(params), World(), Silent(), lambda: "")


@pytest.mark.parametrize("model", [{}, NORMALISED], ids=["scn", "batch-norm"])
def test_a_validation_without_room_keeps_the_steps_done(
    project: Project, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    params, calls, restored = project("sr-x2", checkpoint_every=100, validate_every=10), iter(range(9)), Restorer._run

    def failing(*given: Any) -> Any:
        if next(calls) == 1:
            on_a_gpu()
        return restored(*given)

    monkeypatch.setattr(Restorer, "_run", failing)
    with pytest.raises(UserError) as error:
        train(run := run_of(params, validates=True, **model), World(), Silent(), lambda: "")
    assert str(error.value) == (
        "cpu has no room for a validation of sr-x2 on test/0.png of pictures/test, 80x64 pixels, as a whole: name "
        "sets of smaller images in run.validate_on, or set run.validate_every to 0; the checkpoint of step 10 is kept."
    )
    assert kept(run) == [10]


def rank(number: int, root: str) -> None:
    """One of two ranks, of which the second has too little memory in the fourth step, in the midst of it.

    From then on it has none for a patch of a step either.
    """
    torch.set_num_threads(1)
    reduction.BUCKET_BYTES = 100  # several, some of which have been sent
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=number, world_size=2)
    run = run_of(load_params(Path(root) / "params.yaml"))
    compute, calls = gradients.Gradients._compute, iter(range(1000))
    of_a_step = max(1, run.experiment.train.lanes // 2)

    def failing(self: gradients.Gradients, *given: Any) -> Tensor:
        if next(calls) == 4 * of_a_step - 1:

            def large(network: torch.nn.Module, images: tuple[Tensor]) -> None:
                if images[0].shape[-1] >= 16:
                    on_a_gpu()

            def out(gradient: Tensor) -> None:
                hook.remove()
                self.network.register_forward_pre_hook(large)
                on_a_gpu()

            hook = next(self.network.parameters()).register_hook(out)  # the gradient that comes last
        return compute(self, *given)

    if number:
        gradients.Gradients._compute = failing  # type: ignore[method-assign]
    with pytest.raises(UserError) as error:
        train(run, World(rank=number, world_size=2), Silent(), lambda: "")
    (Path(root) / f"told-{number}").write_text(str(error.value))
    dist.destroy_process_group()


@pytest.mark.parametrize("settings", [{}, {"lanes": 4}])
def test_every_rank_tells_what_one_has_no_room_for(project: Project, settings: dict[str, Any]) -> None:
    params = project("sr-x2", checkpoint_every=100, batch_size=8, **settings)
    torch.multiprocessing.spawn(rank, (str(params.root),), nprocs=2)  # type: ignore[no-untyped-call]
    told = {(params.root / f"told-{number}").read_text() for number in range(2)}
    (sentence,) = told
    patches = 2 if settings else 4
    assert re.fullmatch(
        rf"cpu on \S+ has no room for a step of sr-x2, {patches} patches of 16x16 at once: set run\.accumulate to 2, "
        r"which computes the same batch in smaller parts; the checkpoint of step 3 is kept\.",
        sentence,
    )
    assert list((params.root / ".scn" / "runs" / "sr-x2").glob("*/step-00000003-*.pt"))
