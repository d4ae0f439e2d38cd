"""The counterparts of the SCN paper's ablation study: as many parameters as the paper says, and what they compute."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from scn.core.errors import UserError
from scn.networks.build import build


def parameters(**architecture: Any) -> int:
    return sum(p.numel() for p in build({"scale": 2, **architecture}).parameters())


def test_table_5() -> None:
    """The paper prints 1.2 M, 1.2 M, 1.2 M and 2.1 M, for single-scale, un-shared, shared and un-shared large."""
    assert parameters(name="scn", blocks=16) == 1_224_916
    assert parameters(name="scn-baseline") == 1_190_100
    assert parameters(name="scn-unshared") == 1_229_892
    assert parameters(name="scn-unshared-large") == 2_111_217


def test_table_4() -> None:
    """2 scales and 8 blocks, "almost the same" number of parameters."""
    scn = parameters(name="scn", scales=2)
    assert scn == 615_124
    assert parameters(name="scn-unet") == 600_980
    assert parameters(name="scn-pspnet") == 618_291
    for name in ("scn-unet", "scn-pspnet"):
        assert abs(parameters(name=name) / scn - 1) < 0.03


def test_unet_style_is_its_equation() -> None:
    network = build({"name": "scn-unet", "blocks": 4, "units": 4, "width": 2}, seed=0)
    trunk, x = network.get_submodule("trunk"), torch.rand(1, 4, 8, 12)

    def part(name: str, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = trunk.get_submodule(name)(x)
        return result

    def resized(x: torch.Tensor, *size: int) -> torch.Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)

    fine = part("encoder.0", x)
    coarse = part("encoder.1", part("down.0", resized(fine, 4, 6)))
    up = resized(part("up.0", part("decoder.1", coarse)), 8, 12)
    torch.testing.assert_close(trunk(x), part("decoder.0", part("skip.0", fine) + up))


def test_pspnet_style_is_its_equation() -> None:
    network = build({"name": "scn-pspnet", "blocks": 2, "units": 4, "width": 2, "scales": 3}, seed=0)
    trunk, x = network.get_submodule("trunk"), torch.rand(1, 4, 8, 12)
    parts = []
    for s in range(3):
        small = F.interpolate(x, size=(8 >> s, 12 >> s), mode="bilinear", align_corners=True)
        y = trunk.get_submodule(f"branches.{s}")(small)
        parts.append(F.interpolate(y, size=(8, 12), mode="bilinear", align_corners=True))
    torch.testing.assert_close(trunk(x), trunk.get_submodule("fuse")(torch.cat(parts, 1)))


def test_blocks_that_can_not_be_split_get_a_sentence() -> None:
    with pytest.raises(UserError, match="blocks: 6 can't be split evenly among 2 scales"):
        build({"name": "scn-unet", "blocks": 6})
