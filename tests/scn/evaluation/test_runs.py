"""What reports read of each experiment."""

import json
from pathlib import Path

import pytest
from finished_runs import TRAINED_ON, finish

from scn import zoo
from scn.core.errors import UserError
from scn.evaluation.page.page import gather, render
from scn.evaluation.report import lines
from scn.evaluation.runs import left_out, read_curves, read_runs, read_shipped

SHIPPED = Path(zoo.__file__).parent
EXPERIMENTS = {"sr-x2": ("sr", 2), "dn-s25": ("dn", 25)}


def test_a_run_has_all_that_its_files_say(tmp_path: Path) -> None:
    first, second = read_runs(finish(tmp_path, EXPERIMENTS))
    assert [first.name, second.name] == ["sr-x2", "dn-s25"]
    assert first.architecture is not None
    assert first.architecture["scale"] == 2
    assert first.version_url == "file://store/registry/sr-x2/v1"
    assert first.licences == {"DIV2K/train": "academic research only"}
    assert first.training_corpora == {"DIV2K/train": TRAINED_ON}
    figures = first.figures("Set5", "sr-y-v1", "model")
    assert figures is not None
    assert figures.psnr == first.evaluation.sets["Set5"].mean["sr-y-v1"]["model"].psnr
    assert first.figures("Set5", "sr-rgb-v1", "model") is None
    assert first.figures("elsewhere", "sr-y-v1", "model") is None


def test_what_only_adds_to_a_report_may_be_missing_or_damaged(tmp_path: Path) -> None:
    params = finish(tmp_path, EXPERIMENTS)
    (tmp_path / "models/sr-x2/config.json").unlink()
    (tmp_path / "published/sr-x2.json").unlink()
    (tmp_path / "models/dn-s25/config.json").write_text("[1,")
    first, second = read_runs(params)
    assert [first.architecture, first.version_url, dict(first.training_corpora)] == [None, None, {}]
    assert second.config == {}


def test_a_version_with_other_weights_than_were_measured_is_not_named(tmp_path: Path) -> None:
    params = finish(tmp_path, EXPERIMENTS)
    path = tmp_path / "published/sr-x2.json"
    receipt = json.loads(path.read_text())
    for weights, published in (
        ("w" * 64, receipt["url"]),
        ("x" * 64, "not published (v1 holds other weights)"),
    ):
        path.write_text(json.dumps(receipt | {"weights_sha256": weights}))
        runs = read_runs(params)
        assert next(line.published for line in lines(runs)) == published
        assert published in render(gather(params, timed=False))


def test_figures_without_self_ensemble_are_told(tmp_path: Path) -> None:
    params = finish(tmp_path, EXPERIMENTS)
    path = tmp_path / "evaluations/dn-s25/ensemble.json"
    path.write_text(path.read_text().replace('"ensemble"', '"elephant"'))
    with pytest.raises(UserError, match="The figures of dn-s25 lack self-ensemble: run `dvc repro ensemble@dn-s25`"):
        read_runs(params)


def test_figures_of_other_weights_than_a_model_has_are_not_shown(tmp_path: Path) -> None:
    params = finish(tmp_path, EXPERIMENTS)
    weights, evaluated = tmp_path / "models/sr-x2/model.safetensors", tmp_path / "evaluations/sr-x2/model.json"
    told = "The figures of sr-x2 are of other weights than {}, and left out: run `dvc repro ensemble@sr-x2`."
    measured = "w" * 64
    for path, content, other in (
        (weights, b"trained again", "models/sr-x2/model.safetensors"),
        (evaluated, json.dumps({"provenance": {"weights_sha256": "x" * 64}}).encode(), "evaluations/sr-x2/model.json"),
        (evaluated, json.dumps({"provenance": {"weights_sha256": measured}}).encode(), None),
        (evaluated, b"{", None),
    ):
        path.write_bytes(content)
        assert [run.name for run in read_runs(params)] == (["dn-s25"] if other else ["sr-x2", "dn-s25"])
        assert left_out(params) == ([told.format(other)] if other else [])
        path.unlink()
    for name in EXPERIMENTS:
        (tmp_path / f"models/{name}/model.safetensors").touch()
    with pytest.raises(UserError, match=r"^The figures of sr-x2 are .*\nThe figures of dn-s25 are of other weights"):
        read_runs(params)


def test_curves_leave_out_what_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "loss.tsv").write_text("step\tloss\n10\t0.5\n20\tnan\n30\t0.25\n4")
    (tmp_path / "empty.tsv").write_text("step\tempty\n")
    assert read_curves(tmp_path) == {"loss": [(10, 0.5), (30, 0.25)]}
    assert read_curves(tmp_path / "nowhere") == {}


def test_a_model_that_ships(tmp_path: Path) -> None:
    run = read_shipped(SHIPPED / "dn-s25")
    metrics = json.loads((SHIPPED / "dn-s25" / "metrics.json").read_text())
    figures = run.figures("BSD68", "dn-grey-v1", "ensemble")
    assert figures is not None
    assert figures.psnr == metrics["BSD68"]["ensemble"]["psnr"]
    assert [run.evaluation.task, run.evaluation.level, run.ships] == ["dn", 25, True]
    assert list(run.training_corpora) == ["Train400"]
    with pytest.raises(UserError, match=r"lacks metrics\.json or config\.json: restore the folder from git"):
        read_shipped(tmp_path)


def test_a_folder_that_is_called_like_a_corpus_has_no_licence_of_it(tmp_path: Path) -> None:
    params, path = finish(tmp_path, EXPERIMENTS), tmp_path / "models/sr-x2/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "training_corpora": {"mine": "a" * 64, "b": "b" * 64}}))
    for name in ("mine", "b"):
        (tmp_path / f"indexes/{name}.json").write_text(json.dumps({"licence": "free", "sha256": "b" * 64}))
    assert next(iter(read_runs(params))).licences == {"b": "free"}
