"""The schema of a study: every mistake is one sentence that names file and key."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scn.core.errors import UserError
from scn.studies.declaration import FOLDER, describe_studies, load_study, study_names

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., str]:
    """A function: an edit of a shipped study's content -> the path of the file with it."""

    def write(edit: Edit, name: str = "scn-table5") -> str:
        content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        edit(content)
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return write


def test_settings_go_from_common_to_particular(edited: Callable[..., str]) -> None:
    study = load_study(
        edited(lambda content: content["variants"]["shared"]["settings"].update({"train.batch_size": 4}))
    )
    assert study.name == "mine"
    small, paper = (study.sections("unshared", size) for size in ("small", "paper"))
    assert (small["model"]["units"], small["model"]["blocks"], small["train"]["batch_size"]) == (12, 4, 8)
    assert (paper["model"]["units"], paper["model"]["blocks"], paper["train"]["batch_size"]) == (16, 17, 16)
    assert paper["train"]["learning_rate"] == 0.001
    assert paper["train"]["schedule"] == "cosine"
    assert not paper["train"].keys() & {"seed", "epochs", "max_steps"}
    assert study.sections("shared", "small")["train"]["batch_size"] == 4
    over = study.sections("unshared", "small", {"model.units": 6, "train.precision": "float32"})
    assert (over["model"]["units"], over["train"]["precision"]) == (6, "float32")


def test_every_study_is_listed() -> None:
    lines = describe_studies().splitlines()
    assert [line.split()[0] for line in lines] == study_names()
    assert "Sharing of weights between scales (Fan, Yu, Liu, Huang: Table 5); 4 variants, 3 seeds" in lines[-2]


@pytest.mark.parametrize(
    ("settings", "sweep", "message"),
    [
        ({"model.shared": False}, {"scales": [2, 9]}, "sweep: The network has weights for 6 scales, not 9: use fewer"),
        (
            {"model.resampling": "pooling", "model.ratio": 0.5},
            {"ratio": [0.5, 0.7]},
            "sweep: The network resamples by pooling at ratio 0.5, not 0.7: only bilinear",
        ),
        ({"model.ratio": 0.5}, {"scales": [6, 12]}, "sweep: The pyramid: scales: 12 of ratio 0.5 would pad every"),
    ],
)
def test_a_sweep_that_a_network_can_not_have_is_refused_before_its_training(
    edited: Callable[..., str], settings: dict[str, Any], sweep: dict[str, Any], message: str
) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["variants"]["scales-6"]["settings"].update(settings)
        content["sweep"] = sweep

    with pytest.raises(UserError) as told:
        load_study(edited(edit, "scn-figure7"))
    assert message in str(told.value)
    assert str(told.value).startswith("The study mine, variant scales-6, size small: ")
    if "ratio" not in sweep:  # settings of the command line change the network, too
        study = load_study("scn-figure7")
        with pytest.raises(UserError, match="sweep: The"):
            study.sections("scales-6", "small", settings)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(seed=3), "'seed' is no known key (at the top level): did you mean 'seeds'"),
        (lambda c: c.update(name="other"), "name: a study is called as its file is"),
        (lambda c: c.pop("question"), "question: field required"),
        (lambda c: c.update(seeds="three"), "seeds: input should be a valid integer"),
        (lambda c: c.update(task="srx"), "task: 'srx' is no known task"),
        (lambda c: c.update(reference="share"), "reference: 'share' is no known variant: did you mean 'shared'"),
        (lambda c: c["variants"].update({"Shared!": c["variants"]["shared"]}), "'Shared!' is no name of a variant"),
        (lambda c: c["sizes"]["small"].update(unshard={}), "sizes.small: 'unshard' is no known variant"),
        (lambda c: c["common"].update({"data.stride": 3}), "'data.stride' is no setting of a study"),
        (lambda c: c["common"].update({"train.max_steps": 3}), "'train.max_steps' is no setting of a study"),
        (lambda c: c["common"].update({"train.take_best_every": 3}), "'train.take_best_every' is no setting"),
        (
            lambda c: c["common"].update({"train.batch": 3}),
            "'batch' is no known key (at train): did you mean 'batch_size'",
        ),
        (lambda c: c["common"].update({"train.schedule": "halving"}), "halving can't be scaled to any number of steps"),
        (lambda c: c["common"].update({"model.nuits": 3}), "'nuits' is no known key (at model): did you mean 'units'"),
        (lambda c: c["variants"]["shared"].update(share=0), "variants.shared.share"),
        (lambda c: c["variants"]["shared"].update(place={"line": "a", "x": 1}), "give it to all or to none"),
        (lambda c: c.update(sweep={"scales": [2, 4]}), "sweep: the network of baseline has no pyramid"),
        (lambda c: c.update(protocol="sr-v1"), "protocol: 'sr-v1' is no known protocol of sr: did you mean 'sr-y-v1'"),
        (lambda c: c.update(sweep={}), "give one of scales and ratio"),
        (lambda c: c.update(sweep={"scales": [4, 2]}), "scales: the values must ascend"),
        (lambda c: c.pop("paper"), "table: has no paper"),
        (lambda c: c.pop("printed"), "printed.how: variants have printed figures"),
    ],
)
def test_mistakes(edited: Callable[..., str], edit: Edit, message: str) -> None:
    path = edited(edit)
    with pytest.raises(UserError) as told:
        load_study(path)
    assert message in str(told.value)
    assert path in str(told.value) or "The study mine, variant baseline, size small" in str(told.value)


def test_a_study_of_nobodys_paper(edited: Callable[..., str]) -> None:
    def own(content: dict[str, Any]) -> None:
        for key in ("paper", "table", "equal", "unlike", "printed"):
            del content[key]
        for variant in content["variants"].values():
            for key in ("printed", "printed_parameters", "printed_macs"):
                variant.pop(key, None)

    study = load_study(edited(own))
    assert (study.paper, study.table, study.printed.how) == ("", "", "")


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'scn-table55' is no known study: did you mean 'scn-table5'; or name a YAML"):
        load_study("scn-table55")
    with pytest.raises(UserError, match=r"absent.yaml can't be read"):
        load_study(str(tmp_path / "absent.yaml"))
    for content, message in (("a: [", "is not valid YAML"), ("- a", "declares nothing"), ("a: 1\na: 2", "twice")):
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(UserError, match=message):
            load_study(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("stem", ["my study", "_mine", "größe", ".hidden"])
def test_a_file_whose_name_is_no_name_is_told(edited: Callable[..., str], stem: str) -> None:
    path = Path(edited(lambda _: None))
    other = path.rename(path.with_name(f"{stem}.yaml"))
    with pytest.raises(UserError, match=f"'{stem}' is no name: begin with a letter or a digit") as told:
        load_study(str(other))
    assert str(told.value).startswith(f"{other}: ")


def test_the_page_names_every_study_and_its_example_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "studies.md").read_text()
    assert sorted(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == study_names()
    example = page.partition("    paper: ")[1:]
    path = tmp_path / "width.yaml"
    path.write_text(textwrap.dedent("".join(example).partition("\n\n")[0]))
    study = load_study(str(path))
    assert list(study.variants) == ["width-2", "width-4"]
    assert study.sections("width-2", "small")["model"]["units"] == 32
