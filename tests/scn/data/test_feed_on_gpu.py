"""Patches that are made on a GPU are those of a CPU, but for the bits of the noise."""

from collections.abc import Callable

import pytest
import torch
from named_pictures import experiment, pictures

from scn.data import Feed
from scn.data.loader import PIECE_BYTES, _copy_to_gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]

Open = Callable[..., Feed]


@pytest.mark.parametrize("kind", [None, 0.5])
def test_patches_are_those_of_a_cpu(open_pictures: Open, kind: float | None) -> None:
    made = experiment(group_mib=kind, loader_workers=2)
    shards = [[picture] for picture in pictures(8, size=100)]
    here, there = (open_pictures(made, *shards, device=device) for device in ("cpu", "cuda"))
    for step in range(12):
        expected, batch = here.batch(step), there.batch(step)
        assert batch.input.device.type == batch.target.device.type == "cuda"
        torch.testing.assert_close(batch.input.cpu(), expected.input, rtol=0, atol=1e-7)
        torch.testing.assert_close(batch.target.cpu(), expected.target, rtol=0, atol=1e-7)
        assert here.images(step) == there.images(step)


def test_noise_is_a_function_of_the_step_however_many_work(open_pictures: Open) -> None:
    made = experiment("dn", 25, patch_size=32, batch_size=16)
    shards = [pictures(4, "dn", size=64)]
    feed = open_pictures(made, *shards, device="cuda")
    whole = feed.batch(3)
    for world_size in (2, 4):
        feeds = [open_pictures(made, *shards, device="cuda", rank=n, world_size=world_size) for n in range(world_size)]
        parts = [feed.batch(3) for feed in feeds]
        assert torch.equal(torch.cat([part.input for part in parts]), whole.input)
    noise = (whole.input - whole.target) * 255
    assert noise.std().item() == pytest.approx(25, rel=0.02)
    assert not torch.equal(feed.batch(4).input - feed.batch(4).target, whole.input - whole.target)


def test_images_are_copied_while_the_gpu_computes() -> None:
    source = torch.randint(256, (2 * PIECE_BYTES + 5,), dtype=torch.uint8)
    target = torch.empty_like(source, device="cuda")
    matrix = torch.rand(8192, 8192, device="cuda")
    free = torch.cuda.current_stream().record_event()
    for _ in range(500):  # seconds
        matrix = matrix @ matrix
    _copy_to_gpu(source, target, free)
    assert not torch.cuda.current_stream().query()  # it still computes, and neither stream has waited for the other
    assert torch.equal(target.cpu(), source)
