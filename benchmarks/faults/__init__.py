"""Faults on purpose: what the pipeline makes of them, counted. `python -m benchmarks.faults --help`."""
