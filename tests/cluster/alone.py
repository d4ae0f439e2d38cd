"""The results of one machine that works alone, without Ray and S3: what a cluster's must be the same as."""

import shutil
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from commands import Command
from machines import Machine
from projects import EVALUATE, SHARD, Results, training, write_project

TORCHRUN = Path(sys.executable).with_name("torchrun")


class Alone:
    """The results of the project's commands on one machine, each made when it is first asked for."""

    def __init__(self, machine: Machine, variables: Mapping[str, str]) -> None:
        self._machine, self._variables = machine, variables
        self._results, self._models = Results(machine), dict[tuple[str, ...], Path]()
        write_project(self._results.folder, "file://store")

    @cached_property
    def manifests(self) -> list[bytes]:
        """The manifests of the shards."""
        self._run(*SHARD, "--workers", "0")
        return self._results.manifests

    @property
    def shards(self) -> Path:
        """The folder of the manifests."""
        assert self.manifests
        return self._results.shards

    def model(self, workers: int, *settings: str) -> Path:
        """The folder of the model that so many processes of torchrun train, with `settings` of params.yaml changed."""
        assert self.manifests
        key = str(workers), *settings
        if key not in self._models:
            processes = ("--standalone", "--nproc-per-node", str(workers), "--no-python")
            self._run(TORCHRUN, *processes, *training(*settings), "--plain")
            self._models[key] = self._results.model.with_name(f"{len(self._models)}")
            self._results.model.rename(self._models[key])
        return self._models[key]

    def weights(self, workers: int, *settings: str) -> bytes:
        """The weights of that model."""
        return (self.model(workers, *settings) / "model.safetensors").read_bytes()

    @cached_property
    def figures(self) -> bytes:
        """The figures of the model that one process trains."""
        shutil.copytree(self.model(1), self._results.model)
        self._run(*EVALUATE)
        return self._results.figures

    def _run(self, *words: str | Path) -> None:
        with Command(self._machine, words, self._variables, "project") as running:
            running.end()
