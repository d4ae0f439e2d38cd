"""The DAG of dvc.yaml, run for real at the smallest size, and the commands as a user types them."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from workspace import ROOT, Workspace, published

import scn.cli
from scn.config.params import load_params

STAGES = ["plan", "shard", "train", "evaluate", "ensemble", "publish"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """In which sr-x2 has been made."""
    return published(tmp_path_factory, "pipeline")


def test_all_ten_experiments_have_all_stages() -> None:
    listed = Workspace(ROOT).run("dvc", "stage", "list", "--all", "--name-only").stdout.split()
    experiments = load_params(ROOT / "params.yaml").experiments
    assert len(experiments) == 10
    expected = {f"{stage}@{name}" for stage in STAGES for name in experiments}
    assert set(listed) == expected | {"download@sample", "report"}


@pytest.mark.integration
def test_one_experiment_end_to_end(workspace: Workspace) -> None:
    root = workspace.root
    metrics = json.loads((root / "metrics/sr-x2.json").read_text())
    assert set(metrics) == {"sample/evaluation"}  # nothing but figures: a column each
    assert set(metrics["sample/evaluation"]) == {"input", "model", "ensemble"}
    assert all(set(figures) == {"psnr", "ssim"} for figures in metrics["sample/evaluation"].values())
    # The bicubic figures of the three photographs do not depend on the training.
    assert metrics["sample/evaluation"]["input"]["psnr"] == pytest.approx(31.9, abs=0.5)
    provenance = json.loads((root / "evaluations/sr-x2/ensemble.json").read_text())["provenance"]
    assert provenance["protocol"] == "sr-y-v1"
    assert all(len(provenance[f"{what}_sha256"]) == 64 for what in ("data", "weights", "code"))
    version = root / ".scn/store/registry/sr-x2/v1"
    names = {"model.safetensors", "config.json", "metrics.json", "README.md", "manifest.json"}
    assert {p.name for p in version.iterdir()} == names
    assert json.loads((version.parent / "latest.json").read_text())["version"] == "v1"


@pytest.mark.integration
def test_a_second_repro_does_nothing(workspace: Workspace) -> None:
    again = workspace.run("dvc", "repro", "publish@sr-x2").stdout
    assert "Running stage" not in again
    assert "up to date" in again


@pytest.mark.integration
def test_dvc_shows_figures_and_curves_of_what_was_made_and_no_word_of_the_rest(workspace: Workspace) -> None:
    shown = workspace.run("dvc", "metrics", "show", "--md")
    header = [cell.strip() for cell in shown.stdout.splitlines()[0].strip("| ").split("|")]
    methods = ("input", "model", "ensemble")
    figures = [f"sample/evaluation.{method}.{metric}" for method in methods for metric in ("psnr", "ssim")]
    assert header == ["Path", *sorted(figures)]  # DVC sorts them
    assert shown.stdout.count("metrics/") == 1  # sr-x2 alone was made
    plots = workspace.run("dvc", "plots", "show", "--json")
    assert {"plots/sr-x2/loss.tsv", "plots/sr-x2/learning_rate.tsv"} <= json.loads(plots.stdout)["data"].keys()
    assert [json.loads(plots.stdout).get("errors", []), shown.stderr, plots.stderr] == [[], "", ""]


@pytest.mark.integration
def test_dvc_compares_two_revisions(workspace: Workspace, tmp_path: Path) -> None:
    changing = Workspace(tmp_path / "changing")  # the others go on with what was made
    shutil.copytree(workspace.root, changing.root, symlinks=True, dirs_exist_ok=True)
    changing.commit()
    path = changing.root / "evaluations/sr-x2/ensemble.json"
    evaluation = json.loads(path.read_text())
    figures = evaluation["sets"]["sample/evaluation"]["mean"]["sr-y-v1"]["model"]
    figures["psnr"] += 0.25
    path.unlink()  # a link into DVC's cache, perhaps
    path.write_text(json.dumps(evaluation))
    changing.run("dvc", "repro", "--single-item", "report")
    shown = changing.run("dvc", "metrics", "diff", "--json", "HEAD")
    (changed,) = json.loads(shown.stdout).values()
    assert list(changed) == ["sample/evaluation.model.psnr"]
    assert changed["sample/evaluation.model.psnr"]["diff"] == pytest.approx(0.25)
    plots = json.loads(changing.run("dvc", "plots", "diff", "--json", "HEAD").stdout)
    assert not plots.get("errors")
    assert plots["data"]["plots/sr-x2/loss.tsv"][0]["revisions"] == ["workspace", "HEAD"]


@pytest.mark.integration
def test_a_second_clone_pulls_and_finds_nothing_to_do(workspace: Workspace, tmp_path: Path) -> None:
    remote = str(workspace.root / ".scn/dvc-remote")
    workspace.commit()
    workspace.run("dvc", "push", "--quiet")
    clone = Workspace(tmp_path / "clone")
    workspace.run("git", "clone", "--quiet", str(workspace.root), str(clone.root))
    clone.run("dvc", "remote", "modify", "--local", "local", "url", remote)
    clone.run("dvc", "pull", "--quiet", "--allow-missing")  # nine experiments were never made
    assert "Running stage" not in clone.run("dvc", "repro", "publish@sr-x2").stdout
    theirs, ours = (w.root / "models/sr-x2/model.safetensors" for w in (workspace, clone))
    assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.integration
def test_a_photograph_is_restored(workspace: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(source)
    said = workspace.run("scn", "restore", str(source), str(tmp_path / "out.png"), "--model", "sr-x2")
    assert said.stdout.startswith("1 image restored by sr-x2@v1, in ")
    with Image.open(tmp_path / "out.png") as restored:
        assert restored.size == (60, 40)
    program = "import scn, torch; print(tuple(scn.load('sr-x2')(torch.rand(1, 3, 8, 9)).shape))"
    assert workspace.run(sys.executable, "-c", program).stdout.strip() == "(1, 3, 16, 18)"


MISTAKES = [
    (["train", "-e", "sr-x22"], "scn: params.yaml: 'sr-x22' is no known experiment: did you mean 'sr-x2'."),
    (["train", "-e", "sr-x4"], "scn: shards/sr-x4/train.json does not exist: make it with"),
    (["train", "-e", "sr-x2", "--params", "no.yaml"], "scn: no.yaml does not exist: run this in"),
    (["evaluate", "-e", "sr-x4"], "scn: shards/sr-x4/evaluation.json does not exist"),
    (["preset", "papre"], "scn: 'papre' is no known preset: did you mean 'paper'."),
    (["restore", "no.png", "o.png", "--model", "sr-x2"], "scn: no.png does not exist"),
]


def assert_one_sentence(folder: Path, status: int, stderr: str, message: str) -> None:
    assert status == 1
    assert stderr.startswith(message)
    assert stderr.count("\n") == 1
    assert sorted(p.name for p in folder.iterdir()) == ["params.yaml"]


@pytest.mark.parametrize(("command", "message"), MISTAKES)
def test_a_mistake_ends_with_one_sentence(
    command: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["scn", *command])
    with pytest.raises(SystemExit) as end:
        scn.cli.main()
    assert_one_sentence(tmp_path, end.value.code, capfd.readouterr().err, message)  # type: ignore[arg-type]


def test_a_mistake_ends_the_program_with_one_sentence(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    here = Workspace(ROOT)
    here.root = tmp_path
    command, message = MISTAKES[0]
    without_torch = tmp_path_factory.mktemp("without_torch")
    # A module that fails stands in PyTorch's place: it takes longer than all else, so that nobody waits for a mistake.
    (without_torch / "torch.py").write_text("raise RuntimeError('PyTorch was loaded')")
    here.environment["PYTHONPATH"] = os.pathsep.join([str(without_torch), str(ROOT)])
    done = here.run("scn", *command, check=False)
    assert_one_sentence(tmp_path, done.returncode, done.stderr, message)


@pytest.mark.parametrize("program", ["scn", "data-prep"])
def test_help_names_the_commands(program: str) -> None:
    shown = Workspace(ROOT).run(program, "--help").stdout
    commands = {"scn": ["train", "evaluate", "publish", "restore"], "data-prep": ["download", "shard"]}
    rows = {line.strip("│ ").partition(" ")[0] for line in shown.splitlines()}
    assert rows.issuperset(commands[program])
