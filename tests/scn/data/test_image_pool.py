"""Images in memory: put together from their parts, and cut by one gather."""

import numpy as np
import pytest
import torch
from named_pictures import cut, experiment

from scn.config.params import Experiment
from scn.data.groups import Group, group_bytes
from scn.data.image_pool import ImagePool, Stack
from scn.data.sampler import Part
from scn.shards.samples import About, Sample


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


def group(*sizes: tuple[int, int]) -> Group:
    return Group(images=np.arange(len(sizes)) * 3, sizes=np.array(sizes), shards=())


def empty(of: Group, made: Experiment) -> ImagePool:
    return ImagePool(of, made, torch.empty(group_bytes(made, of), dtype=torch.uint8))


def turned(patch: np.ndarray, symmetry: int) -> np.ndarray:
    """Turns a patch (H, W, C) as `Part.symmetry` says."""
    patch = patch[:, ::-1] if symmetry & 1 else patch
    patch = patch[::-1] if symmetry & 2 else patch
    return patch.transpose(1, 0, 2) if symmetry & 4 else patch


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gather_cuts_and_turns(channels: int) -> None:
    images = [random(23, 17, channels), random(9, 30, channels), random(9, 9, channels)]
    sizes = np.array([image.shape[:2] for image in images])
    stack = Stack(torch.empty((int(sizes.prod(axis=1).sum()), channels), dtype=torch.uint8), sizes)
    for number in (2, 0, 1):
        stack.paste(number, 0, 0, images[number])
    number = np.arange(48) % 3
    symmetry = np.arange(48) // 6 % 8
    side, rng = 9, np.random.default_rng(0)
    room = np.array([image.shape[:2] for image in images])[number] - side + 1
    top, left = (rng.random((48, 2)) * room).astype(int).T
    cuts = stack.cut(number, top, left, symmetry, side)
    assert cuts.shape == (48, channels, side, side)
    assert cuts.dtype == torch.uint8
    for i, patch in enumerate(cuts):
        expected = images[number[i]][top[i] : top[i] + side, left[i] : left[i] + side]
        np.testing.assert_array_equal(patch.permute(1, 2, 0), turned(expected, symmetry[i]))


def everything(packed: ImagePool, place: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole square image, as a patch (H, W, C)."""
    zero = np.zeros(1, np.int64)
    part = Part(group=group((height, height)), start=0, image=zero + place, top=zero, left=zero, symmetry=zero)
    degraded, target = packed.cut(part)
    return degraded[0].permute(1, 2, 0), target[0].permute(1, 2, 0)


def test_whole_images_come_of_their_parts_in_any_order() -> None:
    first, first_lr = random(36, 36, 3), random(18, 18, 3)
    second, second_lr = random(36, 36, 3), random(36, 36, 3)[:18, :18]
    packed = empty(group((36, 36), (36, 36)), experiment("sr", 2, patch_size=18))
    whole = Sample(about=About(name="a", index=0, height=36, width=36), hr=first, lr=first_lr)
    other = Sample(about=About(name="b", index=3, height=36, width=36), hr=second, lr=second_lr)
    parts = cut(other, side=24, stride=8)
    assert len(parts) == 9
    for part in [*parts[5:], whole, *parts[:4]]:
        packed.paste(part)
    assert not packed.is_whole
    packed.paste(parts[4])
    packed.paste(parts[3])  # twice does no harm
    assert packed.is_whole
    assert packed.names == {0: "a", 1: "b"}
    for place, lr, hr in ((0, first_lr, first), (1, second_lr, second)):
        for found, expected in zip(everything(packed, place, 36), (lr, hr), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_grey_images_without_a_degraded_one() -> None:
    image = random(20, 20)
    packed = empty(group((20, 20)), experiment("dn", 25, patch_size=20))
    for part in cut(Sample(about=About(name="a", height=20, width=20), hr=image), side=12, stride=4):
        packed.paste(part)
    for found in everything(packed, 0, 20):
        np.testing.assert_array_equal(found[..., 0], image)
    assert not empty(group((20, 20), (9, 9)), experiment("dn", 25)).is_whole
