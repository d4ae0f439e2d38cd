"""Multi-scale convolutions as data: for each a matrix of paths between branches (Feng et al. 2020, section 3).

scn.networks.ms_conv.layers computes them; no PyTorch is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Resampling = Literal["average", "maximum", "every", "nearest"]
"""Name of a path's resampling, a function of scn.networks.ms_conv.layers."""


@dataclass(frozen=True)
class Path:
    """A path between branches, entry f_ij of the transformation matrix: branch j's part of branch i's output."""

    before: Resampling | None = None
    """Resampling before the convolution W; None: none."""
    after: Resampling | None = None
    """Resampling after the convolution W; None: none."""
    kernel: int | None = None
    """Side of the kernels of the convolution W; None: that of the layer."""
    dilation: int = 1
    """Dilation of the convolution W."""
    shared: bool = False
    """True: all such paths of a layer share one convolution W."""


ZERO = None
IDENTITY = Path()  # where a layer changes the number of channels, W
W = Path()
W_AVG = Path(before="average")  # W ∘ ↓avg
W_MAX = Path(before="maximum")  # W ∘ ↓max
W_UP = Path(before="nearest")  # W ∘ ↑
UP_W = Path(after="nearest")  # ↑ ∘ W
W1_AVG = Path(before="average", kernel=1)
UP_W1 = Path(after="nearest", kernel=1)
W_IS = Path(shared=True)
W_D2 = Path(dilation=2)
W_IS_D2 = Path(shared=True, dilation=2)
# The function W with dilation 2, D, U equals D, W, U, and with pooling of stride 1 before it, it equals pooling of
# stride 2, W, U (section 3.3). The second forms, used here, cost a quarter.
UP_W_EVERY = Path(before="every", after="nearest")
UP_W_AVG = Path(before="average", after="nearest")


@dataclass(frozen=True)
class Transformation:
    """The function f of equation 1, as a matrix of paths between branches.

    With more than two branches, f_HH stands for the first branch, f_LL for all others, and f_LH and f_HL for every pair
    of a coarser and a finer branch: k scales apart, they are resampled by 2^k.
    """

    matrix: tuple[tuple[Path | None, ...], ...]
    """The paths ((f_HH, f_LH), (f_HL, f_LL)), one row for each output branch; None: nothing passes."""
    neighbours: bool = False
    """True: nothing passes between branches that are more than one scale apart."""
    same_size: bool = False
    """True: both branches have the image's size."""
    fewest: int = 1
    """Fewest branches that a configuration may ask for."""
    most: int = 4
    """Most branches that a configuration may ask for."""
    usual: int = 2
    """Number of branches if a configuration does not say."""

    def path(self, i: int, j: int) -> Path | None:
        """The path f_ij from branch j to branch i; None if nothing passes."""
        if self.neighbours and abs(i - j) > 1:
            return ZERO
        row, column = (min(i, 1), min(j, 1)) if i == j else (int(i > j), int(i < j))
        return self.matrix[row][column]


TRANSFORMATIONS: Mapping[str, Transformation] = {
    "standard": Transformation(((W,),), most=1, usual=1),
    "ms": Transformation(((W, ZERO), (ZERO, W))),  # table 2
    "ms2": Transformation(((W, UP_W), (W_AVG, W))),
    "ms2-no-lh": Transformation(((W, ZERO), (W_AVG, W))),
    "ms2-no-hl": Transformation(((W, UP_W), (ZERO, W))),
    "ms3": Transformation(((W_IS, UP_W1), (W1_AVG, W_IS))),  # equation 5
    "ms3-l": Transformation(((W_IS, UP_W), (W_AVG, W_IS))),  # section 4.2
    "unet": Transformation(((IDENTITY, ZERO), (ZERO, W)), fewest=2),  # equation 2
    "octave": Transformation(((W, UP_W), (W_AVG, W)), fewest=2, most=2),  # equation 3
    "multigrid": Transformation(((W, W_UP), (W_MAX, W)), neighbours=True, fewest=2, usual=3),  # equation 4
    "dilated": Transformation(((W, W), (W, W_D2)), same_size=True, most=1, usual=1),  # table 1, from here on
    "dilated-shared": Transformation(((W_IS, W), (W, W_IS_D2)), same_size=True, most=1, usual=1),
    "dilated-lossy": Transformation(((W, W), (W, UP_W_EVERY)), same_size=True, most=1, usual=1),
    "dilated-pooled": Transformation(((W, W), (W, UP_W_AVG)), same_size=True, most=1, usual=1),
}
"""Every convolution that `conv` may ask for, by name; the only list of their names."""

SPLIT = Transformation(((W,), (W_AVG,)))
"""Transformation of the first layer: from one image to many branches."""
MERGE = Transformation(((W, UP_W),))
"""Transformation of the layer that aggregates: from many branches to one output."""
