"""params.yaml: every mistake is a sentence that names the key, its place and the nearest known one."""

import math
import re
from pathlib import Path

import pytest
import yaml
from yaml import YAMLError

from scn.config.data import DataConfig
from scn.config.document import load_yaml
from scn.config.params import load_params
from scn.config.run import RunConfig
from scn.config.train import TrainConfig
from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.training.identity import recipe

PARAMS = Path(__file__).resolve().parents[3] / "params.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  epochs:", "  epocs:", r"'epocs' is no known key \(at train\): did you mean 'epochs'"),
        ("storage:", "storag:", r"'storag' is no known key \(at the top level\): did you mean 'storage'"),
        ("  scales:", "  scale:", r"'scale' is no known key \(at model\): did you mean 'scales'"),
        ("level: 2,", "levl: 2,", r"'levl' is no known key \(at experiments\.sr-x2\): did you mean 'level'"),
        ("model: {}", "model: {block: 3}", r"'block' .*\(at experiments\.sr-x2\.model\): did you mean 'blocks'"),
        ("task: sr", "task: blur", r"experiments\.sr-x2: task: 'blur' is no known task: .*sr, dn, car"),
        ("level: 2,", "level: 99,", r"experiments\.sr-x2: level: the scale of super-.* lies in 2\.\.16, not 99"),
        ("batch_size: 8", "batch_size: eight", r"train\.batch_size: input should be a valid integer"),
        ("batch_size: 8", "batch_size: 0", r"train\.batch_size: input should be greater than or equal to 1"),
        ("workers: 1", "workers: 3", r"train\.batch_size of sr-x2: 8 can't be split evenly among 3 workers"),
        ("  seed:", "  log_every: 5\n  seed:", r"train\.log_every is called run\.log_every now: rename it"),
        (
            "  seed: 0",
            "  seed: 0\n  seed: 1",
            r"not valid YAML: 'seed' stands twice in a section, in lines \d+ and \d+",
        ),
        ("start_from: {}", "start_from: {sr-x9: models/sr-x2}", r"start_from: 'sr-x9' is no known experiment"),
        (
            "start_from: {}",
            "start_from: {sr-x4: models/sr-x2, sr-x2: models/sr-x3, sr-x3: ./models/sr-x2/}",
            r"start_from: sr-x2 from sr-x3, sr-x3 from sr-x2, so none of them can be trained first: take one entry "
            r"out, or let it name another folder with a model\.$",
        ),
        ("start_from: {}", "start_from: {sr-x2: models/sr-x2}", r"start_from: sr-x2 from sr-x2, so none of them can"),
        ("level: 2,", "level: 2, level: 3,", r"'level' stands twice in a section, in lines \d+ and \d+"),
        ("ratio: 0.5", "ratio: 1.0", r"model\.ratio: input should be less than 1"),
        ("[sample/train]", "[smaple/train]", r"data of sr-x2: 'smaple' is no known corpus: did you mean 'sample'"),
        (
            *("[sample/evaluation]", "[Urban100]"),
            r"'Urban100' is no known corpus: use one of sample; .*catalogue needs an entry in corpora\.download",
        ),
        ("[sample/evaluation]", "[]", r"data\.evaluation: list should have at least 1 item"),
        ("storage:", "storage: :", r"is not valid YAML in line \d+"),
        *(
            (
                "  sr-x2:",
                f"  {name}:",
                rf"experiments: '{re.escape(name)}' is no name of an experiment: use letters, dig",
            )
            for name in ("../x", "a b/c", "dn@v1", "-x", ".x")
        ),
        ("level: 25", "level: 025", r"experiments\.dn-s25\.level: input should be a valid integer"),
        ("batch_size: 8", "batch_size: 1:30", r"train\.batch_size: input should be a valid integer"),
        ("learning_rate: 0.001", "learning_rate: 1:30.5", r"train\.learning_rate: input should be a valid number"),
        ("learning_rate: 0.001", "learning_rate: 1e-3x", r"train\.learning_rate: input should be a valid number"),
        (
            *("start_from: {}", 'start_from: {sr-x2: ""}'),
            r"start_from: sr-x2: no folder is named: write one such as models/sr-x2, or take the entry out\.$",
        ),
        (
            *("[sample/evaluation]", "[sample/a, sample-a]"),
            r"data\.evaluation: sample/a and sample-a would share one curve, psnr_sample-a: rename one\.$",
        ),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = PARAMS.read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as error:
        load_params(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_network_that_the_tasks_images_do_not_allow_is_refused_before_anything_starts() -> None:
    model = ["model.name=edsr", "model.mean=div2k"]
    with pytest.raises(UserError, match=r"model of dn-s25: mean: div2k is that of images with 3 channels: use half"):
        load_params(PARAMS, model, "dn-s25")
    assert load_params(PARAMS, model, "sr-x2").experiment("sr-x2").architecture()["mean"] == "div2k"


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist: run this in the project's folder"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("")
    with pytest.raises(UserError, match="has no sections"):
        load_params(tmp_path / "params.yaml")


def test_an_unknown_experiment_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'sr-x22' is no known experiment: did you mean 'sr-x2'"):
        load_params(PARAMS).experiment("sr-x22")


def test_an_experiment_inherits_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text().replace("train: {}}", "train: {epochs: 99}}", 1))
    params = load_params(path)
    assert params.experiment("sr-x2").train.epochs == 99
    assert params.experiment("sr-x3").train.epochs == load_params(PARAMS).experiment("sr-x3").train.epochs
    assert params.experiment("sr-x2").train.batch_size == params.experiment("sr-x3").train.batch_size
    assert params.root == tmp_path


def test_a_batch_may_be_said_for_each_worker(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())
    settings = ["run.workers=4", "run.batch_per_worker=16", "train.batch_size=64"]
    assert load_params(path, settings, "sr-x2").experiment("sr-x2").train.batch_size == 64
    with pytest.raises(
        UserError,
        match=r"batch_size of sr-x2 is 8, and 4 run\.workers with run\.batch_per_worker 16 make 64: leave one of",
    ):
        load_params(path, settings[:2], "sr-x2")
    path.write_text(re.sub(r"  batch_size: 8 .*\n", "", path.read_text()))
    params = load_params(path, settings[:2], "sr-x2")
    assert recipe(params.experiment("sr-x2"))["train"]["batch_size"] == 64
    assert params.experiment("sr-x3").train.batch_size == TrainConfig().batch_size


def test_validations_measure_the_set_that_is_written_first(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = PARAMS.read_text().replace("[sample/evaluation]", "[sample/evaluation, sample/another]")
    path.write_text(text)  # by the alphabet, in which manifests have their sets, the other one is the first
    assert load_params(path).experiment("sr-x2").run.validate_on == ["sample/evaluation"]
    assert load_params(path).experiment("sr-x2").train.take_best_on == []
    best = load_params(path, ["train.take_best_every=5"], "sr-x2").experiment("sr-x2")
    assert best.train.take_best_on == ["sample/evaluation"]
    named = ["train.take_best_every=5", "train.take_best_on=[sample/another]", "run.validate_on=[sample/another]"]
    named_both = load_params(path, named, "sr-x2").experiment("sr-x2")
    assert (named_both.train.take_best_on, named_both.run.validate_on) == (["sample/another"],) * 2


def test_the_ten_experiments() -> None:
    params = load_params(PARAMS)
    assert {name: (e.task_name, e.level, e.scale) for name, e in params.experiments.items()} == {
        "sr-x2": ("sr", 2, 2),
        "sr-x3": ("sr", 3, 3),
        "sr-x4": ("sr", 4, 4),
        "dn-s15": ("dn", 15, 1),
        "dn-s25": ("dn", 25, 1),
        "dn-s50": ("dn", 50, 1),
        "car-q10": ("car", 10, 1),
        "car-q20": ("car", 20, 1),
        "car-q30": ("car", 30, 1),
        "car-q40": ("car", 40, 1),
    }
    assert params.experiment("sr-x2").architecture()["channels"] == 3
    assert params.experiment("dn-s25").architecture()["channels"] == 1


def test_every_key_of_the_schema_stands_in_params_yaml() -> None:
    """A parameter that the file does not show is one that nobody finds."""
    document = yaml.safe_load(PARAMS.read_text())
    for section, schema in (("train", TrainConfig), ("run", RunConfig), ("data", DataConfig)):
        assert set(document[section]) == set(schema.model_fields)
    assert not RunConfig.model_fields.keys() & TrainConfig.model_fields.keys()


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.schedule=cosin", r"--set: train\.schedule: input should be 'halving', 'cosine' or 'constant'"),
        ("train.max_step=5", r"--set: 'max_step' is no known key \(at train\): did you mean 'max_steps'"),
        ("train.loss.l1=2", r"--set: 'train\.loss\.l1' is one key too deep: write 'train\.loss=\{l1: \.\.\.\}'"),
        ("storage.url=x", r"--set: 'storage\.url' is no SECTION\.KEY: begin with data, model, train, run"),
        ("model.blocs=2", r"--set: 'blocs' is no known key \(at model\): did you mean 'blocks'"),
        ("train.batch_size", r"--set: 'train\.batch_size' is no KEY=VALUE"),
    ],
)
def test_a_mistake_in_a_setting_is_not_blamed_on_the_file(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_params(PARAMS, [setting], "sr-x2")


def test_settings_take_the_place_of_what_the_file_says_for_one_experiment() -> None:
    settings = ["train.loss={l1: 1, mse: 10}", "train.learning_rate=1e-4", "model.blocks=2"]
    changed = load_params(PARAMS, settings, "sr-x2").experiments
    assert changed["sr-x2"].train.loss.model_dump() == {"l1": 1, "smooth_l1": 0, "mse": 10}
    assert changed["sr-x2"].train.learning_rate == 1e-4
    assert changed["sr-x2"].architecture()["blocks"] == 2
    assert changed["dn-s25"] == load_params(PARAMS).experiment("dn-s25")


def test_one_call_may_start_from_what_was_trained_before(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text().replace("start_from: {}", "start_from: {sr-x3: models/sr-x2}"))
    params = load_params(path, ["start_from=models/sr-x3"], "sr-x2")
    assert params.experiment("sr-x2").start_from == "models/sr-x3"


def test_a_number_may_be_written_as_one_writes_it(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-3 for text."""
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text().replace("learning_rate: 0.001", "learning_rate: 1e-3"))
    assert load_params(path).experiment("sr-x2").train.learning_rate == 0.001


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("25", 25),
            ("0", 0),
            ("-3", -3),
            ("1_000", 1000),
            ("0x1f", 31),
            ("0b11", 3),
            ("025", "025"),
            ("1:30", "1:30"),
        ),
        *(
            ("0.5", 0.5),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e-3", 0.001),
            ("1.5E+3", 1500.0),
            (".inf", math.inf),
            ("1e3x", "1e3x"),
        ),
        *(("1:30.5", "1:30.5"), ("08", "08"), ("+7", 7), ("-.5", -0.5), ("true", True), ("null", None)),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: object) -> None:
    """YAML 1.1 reads 025 as 21 and 1:30 as 90."""
    found = load_yaml(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.timeout(60)
def test_sections_that_merge_each_other_end_in_one_sentence(tmp_path: Path) -> None:
    """Each of nine lines has ten times the keys of the one before."""
    lines = ["a0: &a0 {key: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    path = tmp_path / "params.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"is not valid YAML in line \d+: its sections merge more than 10000 keys\.$"):
        load_params(path)


def test_sections_may_be_merged() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: [*b, {z: 4}], w: 5}"
    assert load_yaml(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 3, "z": 4, "w": 5},
    }
    with pytest.raises(YAMLError, match="'x' stands twice"):  # from itself
        load_yaml("d: &d {<<: *d, x: 6}")


def test_what_splits_no_batch_is_refused_with_workers_and_parts() -> None:
    settings = ["model.name=dncnn", "model.layers=3"]
    load_params(PARAMS, settings, "dn-s25")
    for key in ("workers", "accumulate"):
        with pytest.raises(UserError, match=r"dncnn with batch normalisation depends on how a batch is split: set run"):
            load_params(PARAMS, [*settings, f"run.{key}=2"], "dn-s25")
        load_params(PARAMS, [*settings, f"run.{key}=2", "model.batch_norm=false"], "dn-s25")
