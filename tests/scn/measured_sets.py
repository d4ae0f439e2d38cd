"""Measures models on images as `scn evaluate` does, without its command line."""

from typing import Any

from scn.evaluation.compare import Measurement, Options, compare
from scn.registry.reference import load


def measured(project: Any, name: str, sets: list[str], methods: list[str], **options: Any) -> list[Measurement]:
    inputs = options.pop("inputs", None)
    found = compare(
        project.params,
        experiments=[name],
        sets=sets,
        methods=methods,
        load=lambda reference: load(reference, "cpu", params_file=project.params.path),
        inputs=inputs,
        options=Options(**options),
    )
    return list(found)
