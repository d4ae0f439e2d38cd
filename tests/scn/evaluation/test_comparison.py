"""Our figures beside published ones: differences, and marks."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from finished_runs import finish

from scn.core.errors import UserError
from scn.evaluation.comparison import MARKS, TRAINED_ON, UNTRAINED, Comparison, comparisons, size_of
from scn.evaluation.published import FILE, Published
from scn.evaluation.runs import Run, read_runs

Publish = Callable[..., None]


def row(method: str, psnr: float, **fields: Any) -> Published:
    given = {
        **{"paper": "a-paper", "table": "table1", "task": "sr", "level": 2, "set": "Set5", "protocol": "sr-y-v1"},
        **{"ssim": 0.9, "ssim8": None, "parameters": None, "multiply_adds": None, "training_data": "", "note": ""},
    }
    return Published(method=method, psnr=psnr, **(given | fields))


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Puts rows in the place of the published figures."""

    def put(*rows: Published) -> None:
        def published(task: str, level: int, set_name: str | None = None) -> Sequence[Published]:
            return [each for each in rows if (each.task, each.level, each.set) == (task, level, set_name)]

        monkeypatch.setattr("scn.evaluation.comparison.published", published)

    return put


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_runs(finish(tmp_path, {"sr-x2": ("sr", 2)}))[0]


def on_set5(*runs: Run) -> Comparison:
    return next(each for each in comparisons(runs) if each.set_name == "Set5")


def test_the_difference_is_ours_minus_theirs_with_self_ensemble_where_they_have_it(run: Run, publish: Publish) -> None:
    publish(row("SCN", 30.0), row("SCN+", 30.0), row("A+", 30.0), row("SRResNet-MS3-Conv+", 30.0))
    found = on_set5(run)
    model, ensemble = found.figures(run, "model").psnr, found.figures(run, "ensemble").psnr
    assert [each.difference for each in found.published] == [model - 30, ensemble - 30, model - 30, model - 30]
    assert ensemble > model + 0.5


def test_marks_tell_what_does_not_compare_alike(run: Run, publish: Publish) -> None:
    size, data = size_of(run), "DIV2K (800 training images)"
    assert size is not None
    publish(
        row("alike", 30, parameters=round(size * 1.09), training_data=data),
        row("larger", 30, parameters=round(size * 1.2), training_data=data),
        row("elsewhere", 30, parameters=size, training_data="BSD (200 training and 200 test images)"),
        row("silent", 30),
        row("Bicubic", 30),
        row("other rule", 30, parameters=size, training_data=data, protocol="sr-rgb-v1"),
        row("wrong", 30, parameters=size, training_data=data, note="misprint: it is 29"),
    )
    found = on_set5(run).published
    assert {each.row.method: each.marks for each in found} == {
        **{"alike": "", "larger": "S", "elsewhere": "D", "silent": "?", "Bicubic": ""},
        **{"other rule": "P", "wrong": "!"},
    }
    assert [each.difference is None for each in found] == [False] * 5 + [True, True]
    assert set("".join(each.marks for each in found)) <= set(MARKS)


def test_a_protocol_that_most_published_rows_have_is_the_sets(tmp_path: Path, publish: Publish) -> None:
    params = finish(tmp_path, {"sr-x2": ("sr", 2)})
    path = tmp_path / "evaluations/sr-x2/ensemble.json"
    evaluation = json.loads(path.read_text())
    mean = evaluation["sets"]["Set5"]["mean"]
    mean["sr-rgb-v1"] = {method: {"psnr": 25.0, "ssim": 0.8} for method in mean["sr-y-v1"]}
    path.write_text(json.dumps(evaluation))
    (run,) = read_runs(params)
    publish(row("one", 30), row("two", 24, protocol="sr-rgb-v1"), row("three", 24, protocol="sr-rgb-v1"))
    found = on_set5(run)
    assert found.protocol == "sr-rgb-v1"
    assert found.published[1].difference == 1.0
    assert found.published[0].difference == run.evaluation.sets["Set5"].mean["sr-y-v1"]["model"].psnr - 30


def test_several_runs_stand_in_one_table_and_the_best_is_the_reference(tmp_path: Path, publish: Publish) -> None:
    publish()
    params = finish(tmp_path, {"worse": ("dn", 25), "better": ("dn", 25), "other": ("dn", 50)})
    path = tmp_path / "evaluations/better/ensemble.json"
    evaluation = json.loads(path.read_text())
    evaluation["sets"]["Set5"]["mean"]["dn-grey-v1"]["model"]["psnr"] = 40.0
    path.write_text(json.dumps(evaluation))
    runs = read_runs(params)
    found = on_set5(*runs)
    assert [run.name for run in found.runs] == ["worse", "better"]
    assert found.reference.name == "better"
    keys = [(each.level, each.set_name) for each in comparisons(runs)]
    assert keys == [(25, "Set5"), (25, "sample/evaluation"), (50, "Set5"), (50, "sample/evaluation")]


def change(root: Path, name: str, **provenance: Any) -> None:
    path = root / f"evaluations/{name}/ensemble.json"
    evaluation = json.loads(path.read_text())
    evaluation["provenance"] |= provenance
    path.write_text(json.dumps(evaluation))


@pytest.mark.parametrize(
    ("first", "second", "marked"),
    [
        ({}, {}, ""),
        ({"data_sha256": "1" * 64}, {}, ""),  # of an early version, which does not tell
        ({"data_sha256": "1" * 64, "sets_sha256": {"Set5": "a" * 64}}, {"sets_sha256": {"Set5": "a" * 64}}, ""),
        ({"data_sha256": "1" * 64, "sets_sha256": {"Set5": "a" * 64}}, {"sets_sha256": {"Set5": "b" * 64}}, "I"),
        ({"data_sha256": "1" * 64, "images": {"Set5": 2, "sample/evaluation": 3}}, {}, "I"),
    ],
)
def test_a_run_on_other_images_is_marked(
    tmp_path: Path, publish: Publish, first: dict[str, Any], second: dict[str, Any], marked: str
) -> None:
    publish()
    params = finish(tmp_path, {"one": ("dn", 25), "two": ("dn", 25)})
    change(tmp_path, "one", **first)
    change(tmp_path, "two", **second)
    found = on_set5(*read_runs(params))
    assert sorted(found.marks(run) for run in found.runs) == sorted(["", marked])
    assert found.marks(found.reference) == ""
    if "images" in first:  # the highest PSNR on a part of the set is no reference
        path = tmp_path / "evaluations/one/ensemble.json"
        path.write_text(re.sub(r'"psnr": [0-9.]+', '"psnr": 50.0', path.read_text()))
        assert on_set5(*read_runs(params)).reference.name == "two"


def test_a_set_that_chose_the_weights_is_marked(tmp_path: Path) -> None:
    params = finish(tmp_path, {"best": ("dn", 25), "last": ("dn", 25)})
    path = tmp_path / "models/best/config.json"
    config = json.loads(path.read_text())
    config["identity"]["train"] |= {"take_best_every": 100, "take_best_on": ["Set5"]}
    path.write_text(json.dumps(config))
    runs = read_runs(params)
    marks = {(each.set_name, run.name): each.marks(run) for each in comparisons(runs) for run in runs}
    assert {key for key, found in marks.items() if "B" in found} == {("Set5", "best")}


def test_what_is_not_known_of_ours_is_marked(tmp_path: Path, publish: Publish) -> None:
    params = finish(tmp_path, {"sr-x2": ("sr", 2)})
    (tmp_path / "models/sr-x2/config.json").unlink()
    publish(
        row("told", 30, parameters=1000, training_data="DIV2K (800 training images)"),
        row("silent", 30),
        row("Bicubic", 30),
    )
    found = on_set5(*read_runs(params)).published
    assert {each.row.method: each.marks for each in found} == {"told": "O", "silent": "?", "Bicubic": ""}


def test_figures_of_another_version_of_the_project_are_one_sentence(tmp_path: Path) -> None:
    params = finish(tmp_path, {"sr-x2": ("sr", 2)})
    path = tmp_path / "evaluations/sr-x2/ensemble.json"
    whole = path.read_text()
    path.write_text(whole.replace('"sr-y-v1"', '"sr-y-v0"'))
    with pytest.raises(
        UserError, match=r"^The figures of sr-x2 on Set5 were measured under sr-y-v0, not sr-y-v1: run `dvc repro ens"
    ):
        comparisons(read_runs(params))
    path.write_text(whole.replace('"task": "sr"', '"task": "blur"'))
    with pytest.raises(UserError, match=r"^The figures of sr-x2 are of a task that is not known, 'blur': run `dvc rep"):
        comparisons(read_runs(params))


def test_the_tables_know_what_the_published_figures_name() -> None:
    with FILE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {each["training_data"] for each in rows} - {""} == set(TRAINED_ON)
    assert set(UNTRAINED) <= {each["method"] for each in rows}
