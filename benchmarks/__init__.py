"""Benchmarks: speed beside named peers, with dated results (benchmarks.measure)."""

from scn.core.openmp import wait_briefly

wait_briefly()  # as in the project's commands, which import PyTorch later than the benchmarks do
