"""WDSR-A (Yu, Fan, Yang, Xu, Wang, Huang 2018, sections 3.1 and 3.4)."""

from scn.networks.base.residual import Residuals
from scn.networks.base.wide import WideNetwork


class WDSR(WideNetwork):
    """WDSR-A (Yu et al. 2018, sections 3.1 and 3.4): (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

    SCN's ancestor, with one scale only, and so SCN's single-scale baseline, too (SCN paper, table 5).
    """

    make_trunk = Residuals
