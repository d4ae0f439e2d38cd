"""Further figures of published versions, on sets that they were not published with, as immutable objects.

    registry/<experiment>/figures/<version>/<protocol>-<hash>.json      one measurement (scn.evaluation.compare)

The hash is of all that decides the figures: images, code, protocol, precision and the way of restoring. So what was
measured is found again, and a new set, protocol or code makes a new object beside it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from scn.config.params import Params
from scn.core.hashing import digest
from scn.evaluation.code import evaluation_code
from scn.evaluation.compare import Measurement, Options, compare
from scn.evaluation.photographs import open_photographs
from scn.evaluation.protocols import protocols_of
from scn.registry.reference import load, parse
from scn.storage.base import ObjectExists, ObjectNotFound, Store

CURE = "delete it in the store, and measure again"


def measure_version(
    params: Params, reference: str, sets: Sequence[str] = (), *, self_ensemble: bool = False
) -> Iterator[tuple[Measurement, bool]]:
    """Measures a published version on sets of images, and publishes the figures with it.

    Args:
        reference: a published version, whose experiment params.yaml has.
        sets: corpora or folders of images; empty: the experiment's evaluation sets.
        self_ensemble: the results of the 8 flips and rotations are averaged.
    Yields:
        a measurement of each set, and True if it was made now, False if it was found in the store.
    Raises:
        UserError: if there is no such version, or a set can't be measured.
    """
    store = params.open_store(reference.partition("@")[0])
    name, version = parse(reference, store, params)
    experiment = params.experiment(name)
    model = load(f"{name}@{version}", params_file=params.path)
    rules = protocols_of(experiment.task)
    code = evaluation_code(model.config["architecture"]["name"])
    for of_set in sets or experiment.data.evaluation:
        decided = {
            "set": of_set,
            "data_sha256": open_photographs(params, experiment, of_set).corpus.sha256,
            "code_sha256": code,
            "protocols": [rule.name for rule in rules],
            "precision": experiment.evaluate.precision,
            "edges": experiment.data.edges,
            "self_ensemble": self_ensemble,
        }
        key = f"registry/{name}/figures/{version}/{rules[0].name}-{digest(decided)[:16]}.json"
        try:
            yield _read(store, key), False
            continue
        except ObjectNotFound:
            pass
        [measured] = compare(
            params,
            experiments=[name],
            sets=[of_set],
            methods=[f"{name}@{version}"],
            load=lambda _: model,
            options=Options(self_ensemble=self_ensemble),
        )
        try:
            store.put(key, measured.dumps())
        except ObjectExists:  # another process was faster, on another kind of processor
            measured = _read(store, key)
        yield measured, True


def further_figures(store: Store, experiment: str, version: str) -> list[Measurement]:
    """Returns what was measured of a version after it was published, by set; a set may be there more than once."""
    keys = store.list(f"registry/{experiment}/figures/{version}/")
    return sorted((_read(store, key) for key in keys), key=lambda each: (each.set, each.self_ensemble, each.protocol))


def row(measured: Measurement) -> dict[str, str]:
    """Returns a measurement as the row of a table."""
    return {
        "set": measured.set,
        "images": str(len(measured.images)),
        "protocol": measured.protocol,
        "method": measured.title,
        "PSNR / SSIM": str(measured.mean),
        "code": measured.provenance.code_sha256[:9],
    }


def _read(store: Store, key: str) -> Measurement:
    return Measurement.loads(store.get(key), Path(key), CURE)
