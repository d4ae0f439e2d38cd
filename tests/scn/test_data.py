"""Which patches a step sees."""

import numpy as np
import pytest
import torch

from scn.config import DataConfig, EvaluateConfig, Experiment
from scn.data import Patches
from scn.errors import UserError
from scn.networks.scn import ScnConfig
from scn.recipe import TrainConfig
from scn.samples import About, Sample


def experiment(task: str = "sr", level: int = 2, **train: object) -> Experiment:
    settings = {"batch": 8, "patch": 8, "patches_per_image": 6, "epochs": 2, **train}
    return Experiment(
        name=f"{task}-{level}",
        task_name=task,
        level=level,
        data=DataConfig(train=["a"], evaluation=["b"]),
        model=ScnConfig(),
        train=TrainConfig.model_validate(settings),
        evaluate=EvaluateConfig(),
    )


def samples(count: int = 4, scale: int = 2, size: int = 20) -> list[Sample]:
    """Pictures whose pixels name their picture and place: hr is lr with every pixel repeated."""
    result = []
    for i in range(count):
        y, x = np.mgrid[0:size, 0:size]
        lr = np.stack([np.full_like(x, i), y, x], axis=-1).astype(np.uint8)
        about = About(name=f"{i}", index=i, height=size * scale, width=size * scale)
        result.append(Sample(about=about, hr=lr.repeat(scale, 0).repeat(scale, 1), lr=lr))
    return result


def test_input_and_target_are_the_same_place_turned_the_same_way() -> None:
    batch = Patches(samples(), experiment()).batch(3)
    assert batch.input.shape == (8, 3, 8, 8)
    assert batch.target.shape == (8, 3, 16, 16)
    assert batch.input.dtype == batch.target.dtype == torch.float32
    assert torch.equal(batch.target[:, :, ::2, ::2], batch.input)
    assert torch.equal(batch.target[:, :, 1::2, 1::2], batch.input)


def test_all_eight_symmetries_and_all_places_are_drawn() -> None:
    patches = Patches(samples(count=1), experiment(patches_per_image=400))
    seen, rows = set(), set()
    for step in range(50):
        for patch in (patches.batch(step).input * 255).round().int():
            turned = patch[1, 0, 0] == patch[1, 0, 1]  # y changes along rows unless the patch is transposed
            rising_y = patch[1, -1, -1] > patch[1, 0, 0]
            rising_x = patch[2, -1, -1] > patch[2, 0, 0]
            seen.add((bool(turned), bool(rising_y), bool(rising_x)))
            rows.add(int(patch[1].min()))
    assert len(seen) == 8
    assert rows == set(range(13))


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize(("task", "level"), [("sr", 2), ("dn", 25)])
def test_workers_share_the_batch_of_one(workers: int, task: str, level: int) -> None:
    made = experiment(task, level, batch=8)
    pictures = samples(scale=made.scale)
    whole = Patches(pictures, made).batch(7)
    parts = [Patches(pictures, made).batch(7, rank, workers) for rank in range(workers)]
    assert torch.equal(torch.cat([part.input for part in parts]), whole.input)
    assert torch.equal(torch.cat([part.target for part in parts]), whole.target)


def test_a_step_is_a_function_of_seed_and_step() -> None:
    pictures = samples()
    first = Patches(pictures, experiment())
    steps = [first.batch(step).input for step in range(6)]
    again = Patches(pictures, experiment())
    assert torch.equal(again.batch(5).input, steps[5])  # without the steps before it
    assert not torch.equal(steps[4], steps[5])
    assert not torch.equal(Patches(pictures, experiment(seed=1)).batch(5).input, steps[5])


def test_an_epoch_holds_every_image_equally_often() -> None:
    patches = Patches(samples(), experiment())
    for epoch in (0, 1):  # 4 images x 6 patches = 3 steps of 8
        drawn = torch.cat([patches.batch(epoch * 3 + i).input[:, 0, 0, 0] * 255 for i in range(3)]).round().int()
        assert torch.bincount(drawn).tolist() == [6, 6, 6, 6]


def test_noise_has_the_asked_deviation_and_is_not_clipped() -> None:
    white = [Sample(about=About(name="white", height=64, width=64), hr=np.full((64, 64), 255, np.uint8))]
    batch = Patches(white, experiment("dn", 25, patch=32, batch=16)).batch(0)
    noise = (batch.input - batch.target) * 255
    assert torch.equal(batch.target, torch.ones_like(batch.target))
    assert batch.input.max() > 1.1
    assert noise.std().item() == pytest.approx(25, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.6)


def test_an_image_smaller_than_a_patch_is_named() -> None:
    with pytest.raises(UserError, match=r"image 0 is 40x40 pixels, smaller than a patch of 48x48"):
        Patches(samples(), experiment(patch=24))
