"""The presets: what ships, and that the paper's settings run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from scn.config import Experiment, Params, load_params
from scn.data import Patches
from scn.errors import UserError
from scn.models import build
from scn.presets import apply_preset
from scn.samples import About, Sample

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
TEN = list(load_params(PARAMS).experiments)


@pytest.fixture
def preset(tmp_path: Path) -> Callable[[str], Params]:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())

    def apply(name: str) -> Params:
        apply_preset(name, path)
        return load_params(path)

    return apply


def test_params_yaml_is_the_demo(preset: Callable[[str], Params], tmp_path: Path) -> None:
    preset("demo")
    assert (tmp_path / "params.yaml").read_text() == PARAMS.read_text()


def test_there_and_back_again(preset: Callable[[str], Params], tmp_path: Path) -> None:
    preset("paper")
    preset("demo")
    assert (tmp_path / "params.yaml").read_text() == PARAMS.read_text()


def test_own_corpora_and_storage_stay(preset: Callable[[str], Params], tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = PARAMS.read_text().replace("local: {}", "local: {mine: photographs}").replace("root: corpora", "root: else")
    path.write_text(text.replace("  download:", "  download:\n    own: https://localhost/own.zip\n    #", 1))
    params = preset("paper")
    assert params.corpora.local == {"mine": "photographs"}
    assert params.corpora.download["own"] == "https://localhost/own.zip"
    assert params.corpora.download["Set5"] == "catalogue"
    assert params.corpora.root == "else"
    assert params.storage == load_params(PARAMS).storage


def test_an_unknown_preset_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())
    with pytest.raises(UserError, match=r"no preset 'papr': use one of demo, paper"):
        apply_preset("papr", path)
    assert path.read_text() == PARAMS.read_text()


def test_the_papers_settings(preset: Callable[[str], Params]) -> None:
    """SCN paper, section 4.1."""
    params = preset("paper")
    for name, experiment in params.experiments.items():
        deep = 64 if experiment.task_name == "sr" else None
        assert (experiment.model.blocks, experiment.model.units) == (deep or 8, deep or 32), name
        assert experiment.model.width == 4
        train = experiment.train
        assert (train.patches_per_image, train.epochs, train.learning_rate) == (1000, 40, 1e-3)
        assert (train.hold, train.halve_every) == (25, 3)
    data = {name: e.data for name, e in params.experiments.items()}
    corpora = {name: (of_one.train, of_one.evaluation) for name, of_one in data.items()}
    assert corpora["sr-x2"] == (["DIV2K/train"], ["Set5", "Set14", "BSDS500/val", "Urban100"])
    assert corpora["dn-s25"] == (["BSDS500/train", "BSDS500/test"], ["Set12", "BSD68", "Urban100"])
    assert corpora["car-q10"] == (["T91", "BSDS500/train"], ["LIVE1", "classic5"])
    # The three scales share their high-resolution images.
    assert [data[name].levels for name in ("sr-x2", "sr-x3", "sr-x4", "dn-s15")] == [[2, 3, 4]] * 3 + [[]]


def test_what_the_presets_download_is_in_the_catalogue(preset: Callable[[str], Params]) -> None:
    known = yaml.safe_load((PARAMS.parent / "data_prep" / "catalogue.yaml").read_text())["corpora"]
    for name in ("demo", "paper"):
        params = preset(name)
        assert set(params.corpora.download.values()) == {"catalogue"}
        assert params.corpora.download.keys() <= known.keys()
        for experiment in params.experiments.values():
            for reference in (*experiment.data.train, *experiment.data.evaluation):
                corpus, _, split = reference.partition("/")
                assert not split or split in known[corpus]["splits"], reference


@pytest.mark.parametrize("name", TEN)
def test_two_steps_of_the_paper_at_reduced_size(preset: Callable[[str], Params], name: str) -> None:
    full = preset("paper").experiment(name)
    small = {"model": {"blocks": 2, "units": 8}, "train": {"patch": 16, "batch": 4}}
    document = full.model_dump()
    for section, values in small.items():
        document[section].update(values)
    experiment = Experiment.model_validate(document)
    network = build(experiment.architecture(), seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=experiment.train.learning_rate)
    rng = np.random.default_rng(0)
    shape = (3,) if experiment.task.image_channels == 3 else ()
    lr = rng.integers(0, 256, (20, 24, *shape), dtype=np.uint8)
    hr = lr.repeat(experiment.scale, 0).repeat(experiment.scale, 1)
    about = About(name="a", height=hr.shape[0], width=hr.shape[1])
    sample = Sample(about=about, hr=hr, lr=lr if experiment.task.stored else None)
    patches = Patches([sample], experiment)
    before = [p.detach().clone() for p in network.parameters()]
    for step in range(2):
        batch = patches.batch(step)
        optimizer.zero_grad()
        loss = F.l1_loss(network(batch.input), batch.target)
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
    moved = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert sum(moved) > 0.8 * len(moved)
