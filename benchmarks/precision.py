"""The cost of bfloat16 in quality: PSNR of trained models in float32 and in bfloat16, on their evaluation sets.

    python -m benchmarks.precision [--params FILE] [--json FILE]

It measures every experiment of params.yaml that has been trained. On a processor without bfloat16 PyTorch rounds in the
same way, only slower.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from tqdm import tqdm

from benchmarks.measure import Row, on_this_machine, parser, table, write_json
from scn.config.params import Params, load_params
from scn.core.errors import UserError
from scn.evaluation.images import restorer
from scn.evaluation.measuring import means
from scn.evaluation.protocols import protocols_of
from scn.evaluation.sets import measured_sets
from scn.inference.model_config import check_fits
from scn.inference.model_files import load_model
from scn.inference.precision import Precision
from scn.shards.manifest import evaluation_manifest
from scn.storage import open_store

TITLE = "PSNR in float32 and bfloat16"


def rows(params: Params) -> Iterator[Row]:
    """Yields a row for each evaluation set of each trained experiment: PSNR in dB, and the loss by bfloat16."""
    store = open_store(params.storage.url, params.root)
    for name in tqdm(params.experiments, unit="experiment", leave=False, disable=None):
        folder = params.root / "models" / name
        if not folder.exists():
            continue
        network, config = load_model(folder)
        check_fits(config, folder, params.experiment(name))
        manifest, psnr = evaluation_manifest(params, name), {}
        precisions: tuple[Precision, ...] = ("float32", "bfloat16")
        for precision in precisions:
            evaluation = params.experiment(name).evaluate.model_copy(update={"precision": precision})
            experiment = params.experiment(name).model_copy(update={"evaluate": evaluation})
            with mock.patch("scn.inference.precision.has_bfloat16", return_value=True):
                methods = {"model": restorer(experiment, network)}
                rule = protocols_of(experiment.task)[0].name
                psnr[precision] = {
                    of_set: means(image.result for image in measured)[rule]["model"].psnr
                    for of_set, measured in measured_sets(experiment, manifest, store, methods)
                }
        for of_set, figure in psnr["float32"].items():
            db = {"float32_db": figure, "bfloat16_db": psnr["bfloat16"][of_set]}
            yield {"experiment": name, "set": of_set, **db, "lost_db": db["float32_db"] - db["bfloat16_db"]}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(TITLE, runs=1)
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"), help="the configuration file")
    options = arguments.parse_args(argv)
    on_this_machine()
    found = list(rows(load_params(options.params)))
    if not found:
        raise UserError(f"No experiment of {options.params} has been trained: run `dvc repro` first.")
    print(
        table([{key: f"{value:.4f}" if isinstance(value, float) else value for key, value in r.items()} for r in found])
    )
    write_json(options.json, TITLE, found)


if __name__ == "__main__":
    main()
