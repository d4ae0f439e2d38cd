"""The model card of a published version."""

import json
import shlex
import shutil
from typing import Any

import numpy as np
import pytest

from scn.config.params import load_params
from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.evaluation.results import Evaluation, figures_of
from scn.registry.model_card import APART, APART_HERE, NOT_COMPARED, kept_apart, licences, model_card
from scn.registry.publish import publish
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage import open_store
from scn.training.identity import recipe

NAME = "dn-s25"


@pytest.fixture
def project(small_project: Any) -> Any:
    small_project.add_model(NAME)
    small_project.add_metrics(NAME)
    return small_project


def card_of(project: Any) -> str:
    store = open_store(project.params.storage.url, project.root)
    return store.get(f"registry/{NAME}/v1/README.md").decode()


def index_with_training_image(licence: str) -> str:
    return json.dumps({"licence": licence, "images": [{"name": "train/a.png", "sha256": "a" * 64}]})


def test_the_model_card_says_what_a_user_must_know(project: Any) -> None:
    publish(project.params, NAME)
    card = card_of(project)
    for fact in (
        "# dn-s25: denoising, sigma 25",
        "scn restore IN OUT --model dn-s25",
        'scn.load("dn-s25")',
        "`sample/train`",
        "licences",
        "dn-grey-v1 (grey, full range, no crop)",
        "| sample/evaluation | 2      | 30.00 / 0.8000 | 31.50 / 0.8150 | 31.75 / 0.8175 |",
        "d" * 64,
        "c" * 64,
    ):
        assert fact in card
    assert str(project.root) not in card
    assert "\n\n\n" not in card


def test_figures_of_a_protocol_that_is_not_known_here_are_told(project: Any) -> None:
    path = project.root / "evaluations" / NAME / "ensemble.json"
    path.write_text(path.read_text().replace("dn-grey-v1", "dn-grey-v2"))
    told = rf"^{path} was measured under dn-grey-v2, which this code does not know: run `dvc repro ensemble@dn-s25`\.$"
    with pytest.raises(UserError, match=told):
        publish(project.params, NAME)


def test_the_model_card_says_how_it_was_made_and_under_which_licences(project: Any) -> None:
    config_file = project.root / "models" / NAME / "config.json"
    config = json.loads(config_file.read_text())
    config |= {"steps": 7, "seconds": 61, "machine": "a processor, 2 CPUs", "commit": "f" * 40}
    config |= {"identity": {"train": {"loss": {"l1": 1.0}, "max_steps": 7}, "start_from": "e" * 64}}
    corpora = {
        "sample/train": digest([["train/a.png", "a" * 64]]),
        "other": "b" * 64,
        "mine": "c" * 64,
        "mine/train": "e" * 64,
    }  # that --images of `data-prep shard` named
    config |= {"training_corpora": corpora, "start_from": "models/other"}
    config_file.write_text(json.dumps(config))
    (project.root / "indexes").mkdir()
    (project.root / "indexes" / "sample.json").write_text(index_with_training_image("free"))
    for called, sha256 in (("other", "b" * 64), ("mine", "d" * 64)):  # which was a folder, called like a corpus
        index = json.dumps({"licence": "paid", "sha256": sha256, "images": []})
        (project.root / "indexes" / f"{called}.json").write_text(index)
    publish(project.params, NAME)
    card = card_of(project)
    for fact in (
        f"- `sample/train`, licence: free, SHA-256 of its images `{corpora['sample/train']}`\n",
        f"- `other`, licence: paid, SHA-256 of its images `{'b' * 64}`\n",
        f"- `mine`, licence: not known, SHA-256 of its images `{'c' * 64}`\n",
        f"- `mine/train`, licence: not known, SHA-256 of its images `{'e' * 64}`\n",
        f"7 steps, 61 s, on a processor, 2 CPUs, at commit `{'f' * 40}`:\n",
        f"    scn train --experiment {NAME} --plain \\\n",
        "      --set 'model.blocks=1' \\\n",
        "      --set 'train.loss={\"l1\": 1.0}' \\\n",
        "      --set 'start_from=models/other'\n",
    ):
        assert fact in card


def test_the_card_says_what_the_weights_it_began_with_were_trained_on(project: Any) -> None:
    config_file = project.root / "models" / NAME / "config.json"
    config = json.loads(config_file.read_text()) | {"training_corpora": {"sample/train": "a" * 64}}
    paid = digest([["train/a.png", "a" * 64]])
    same = {"name": "models/b", "weights_sha256": "b" * 64, "training_corpora": {"sample/train": "a" * 64}}
    other = {"name": "models/c", "weights_sha256": "c" * 64, "training_corpora": {"paid/train": paid}}
    (project.root / "indexes").mkdir()
    (project.root / "indexes" / "paid.json").write_text(index_with_training_image("paid"))
    path = project.root / f"evaluations/{NAME}/ensemble.json"
    metrics = figures_of(Evaluation.loads(path.read_bytes(), path, ""))
    params = project.params
    listed = f"trained on:\n\n- `paid/train`, licence: paid, SHA-256 of its images `{paid}`"
    for ancestors, apart, facts in (
        ([], APART, []),
        ([same], APART, []),
        ([same, other], APART_HERE, [listed]),
        ([{**same, "training_corpora": None}], APART_HERE, ["What else the weights that it began with were trained"]),
    ):
        began = {**config, "ancestors": ancestors}
        card = model_card(params.experiment(NAME), metrics, began, licences(params, NAME, began), kept_apart=True)
        assert apart in card
        assert all(fact in card for fact in facts)
        assert ("that it began with" in card) == bool(facts)


@pytest.mark.parametrize(("started", "validations"), [(None, 3), ("models/other", 4)])
def test_the_card_says_on_what_the_weights_were_chosen(project: Any, started: str | None, validations: int) -> None:
    path = project.root / f"evaluations/{NAME}/ensemble.json"
    metrics = figures_of(Evaluation.loads(path.read_bytes(), path, ""))
    settings = ["train.take_best_every=4", "train.max_steps=10"]
    recipes = [
        recipe(load_params(project.root / "params.yaml", asked, NAME).experiment(NAME)) for asked in (settings, [])
    ]
    config = json.loads((project.root / "models" / NAME / "config.json").read_text())
    config |= {"steps": 10, "start_from": started}
    chosen, last = (
        model_card(project.params.experiment(NAME), metrics, {**config, "identity": {**each, "start_from": "e" * 64}})
        for each in recipes
    )
    told = f"Its weights are the best of {validations} validations on sample/evaluation: figures there are too high"
    assert told in chosen
    assert "best of" not in last


def test_the_card_of_imported_weights_claims_nothing_of_their_training(project: Any) -> None:
    path = project.root / f"evaluations/{NAME}/ensemble.json"
    metrics = figures_of(Evaluation.loads(path.read_bytes(), path, ""))
    config = {"imported": {"format": "kair-dncnn", "sha256": "e" * 64}}
    card = model_card(project.params.experiment(NAME), metrics, config)
    assert (
        f"Not known here: the weights were imported from a file of the format kair-dncnn, SHA-256 `{'e' * 64}`" in card
    )
    assert "It is measured here on images degraded by additive white Gaussian noise (sigma 25);" in card
    assert "sample/train" not in card
    assert "\n\n\n" not in card


def test_the_command_on_the_card_asks_for_the_same_run(project: Any) -> None:
    """Every setting can be given back as it is printed, and together they are the recipe that was trained."""
    path = project.root / "params.yaml"
    settings = ["train.loss={l1: 1.0, mse: 2.0}", "train.max_steps=7", "train.schedule=cosine", "model.initial=authors"]
    trained = load_params(path, settings, NAME).experiment(NAME)
    config_file = project.root / "models" / NAME / "config.json"
    config = json.loads(config_file.read_text()) | {"steps": 7, "start_from": "models/other"}
    config_file.write_text(json.dumps(config | {"identity": recipe(trained) | {"start_from": "e" * 64}}))
    publish(project.params, NAME)
    command = card_of(project).partition("    scn train ")[2].partition("\n\n")[0]
    words = shlex.split(command.replace("\\\n", " "))
    asked = load_params(path, [words[i + 1] for i, word in enumerate(words) if word == "--set"], NAME).experiment(NAME)
    assert asked.train == trained.train
    assert asked.architecture() == trained.architecture()
    assert asked.start_from == "models/other"


@pytest.mark.parametrize(
    ("name", "edges", "told"),
    [
        ("sr-x2", "mirror", "MATLAB's bicubic imresize (scale 2)"),
        ("sr-x2", "replicate", "MATLAB's bicubic imresize (scale 2, an older one that repeats the edge pixel)"),
        ("car-q10", "replicate", "a JPEG encoder (quality 10)"),
    ],
)
def test_the_card_says_how_images_were_degraded(small_project: Any, name: str, edges: str, told: str) -> None:
    small_project.add_model(name)
    path = small_project.add_metrics(name)
    params = load_params(small_project.root / "params.yaml", [f"data.edges={edges}"], name)
    metrics = figures_of(Evaluation.loads(path.read_bytes(), path, ""))
    card = model_card(params.experiment(name), metrics, {})
    assert f"It was trained on images degraded by {told}; of other degradations expect less." in card


def test_the_card_says_that_nothing_measured_was_trained_on_only_of_shards_that_were_compared(project: Any) -> None:
    project.add_shards(NAME, {"a.png": np.full((64, 64, 1), 0.5, np.float32)})
    params = project.params
    trained, measured = training_manifest(params, NAME).sha256, evaluation_manifest(params, NAME).sha256
    evaluation = Evaluation.loads(
        (project.root / "evaluations" / NAME / "ensemble.json").read_bytes(), project.root, ""
    )
    metrics = figures_of(evaluation)
    of_these = metrics.model_copy(
        update={"provenance": metrics.provenance.model_copy(update={"data_sha256": measured})}
    )
    made_by_these = {"identity": {"manifest": trained}}
    assert kept_apart(params, NAME, of_these, made_by_these)
    assert not kept_apart(params, NAME, metrics, made_by_these)  # measured on other images
    assert not kept_apart(params, NAME, of_these, {"identity": {"manifest": "f" * 64}})  # trained on others
    assert not kept_apart(params, NAME, of_these, {})  # imported
    experiment = params.experiment(NAME)
    assert APART in model_card(experiment, metrics, {}, kept_apart=True)
    assert NOT_COMPARED in model_card(experiment, metrics, {})
    shutil.rmtree(project.root / "shards")
    assert not kept_apart(params, NAME, of_these, made_by_these)
