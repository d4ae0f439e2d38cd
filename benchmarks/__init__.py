"""Benchmarks: speed beside named peers, with dated results (benchmarks.measure)."""

import scn as scn  # as in the project's commands, which set how PyTorch's threads work before they import it
