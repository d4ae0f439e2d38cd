"""The project as an installed wheel, used from an empty folder: nothing of it may need the clone."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from PIL import Image

from scn.core.pipeline import MODULES
from scn.inference.model_files import save_model
from scn.inference.records import Figures, Metrics, Provenance, SetFigures
from scn.networks.build import build
from scn.registry.manifest import MANIFEST
from scn.registry.versions import Version

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[1]
SHIPPED = "tiny-x2"
"""A model that the test puts into the zoo before the wheel is built."""


class Installed:
    """An environment with the wheel, and an empty folder to use it from."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.bin, self.folder = environment / "bin", folder
        path = os.pathsep.join([str(self.bin), os.environ.get("PATH", "")])
        self.variables = {**without_the_clone(), "PATH": path, "COLUMNS": "120"}

    def run(self, command: str, *arguments: str) -> str:
        """What a command of the environment prints; it must succeed."""
        done = subprocess.run(
            [self.bin / command, *arguments],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done
        return done.stdout

    def without_the_pipeline(self, *programs: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / "python", "-c", WITHOUT_THE_PIPELINE, json.dumps(programs)],
            cwd=self.folder,
            env={**self.variables, "PREFECT_API_URL": "http://127.0.0.1:9/api"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def python(self, program: str) -> list[str]:
        return self.run("python", "-c", program).splitlines()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Builds the wheel from a copy of the project's files, and installs it beside the dependencies."""
    source, wheels, environment, folder = (
        tmp_path_factory.mktemp(name) for name in ("source", "wheels", "environment", "empty")
    )
    copy_project(source)
    add_model(source / "scn" / "zoo" / SHIPPED)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir"]
    options = ["--quiet", "--no-deps", "--no-index"]
    making = [*pip, "wheel", *options, "--no-build-isolation", "-w", wheels, source]
    subprocess.run(making, env=without_the_clone(), check=True, timeout=300)
    (wheel,) = wheels.iterdir()
    venv.create(environment, with_pip=False)
    installing = [*pip, "--python", environment / "bin" / "python", "install", *options, wheel]
    subprocess.run(installing, env=without_the_clone(), check=True, timeout=300)
    # A path file of the new environment makes the dependencies visible. Path files among them, as that of an editable
    # install of the project, are not read, and the wheel goes before them.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    packages = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    Path(packages, "dependencies.pth").write_text("\n".join(sorted(dependencies)))
    yield Installed(environment, folder)
    assert list(folder.iterdir()) == []


def without_the_clone() -> dict[str, str]:
    """The variables of this process without those that lead to the clone."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SCN_", "VIRTUAL_ENV"))}


def copy_project(target: Path) -> None:
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for file in filter(None, files):
        if (ROOT / file).is_file() and not file.startswith("tests/"):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, target / file)


def add_model(folder: Path) -> None:
    """A whole version of a tiny network."""
    architecture = {"name": "vdsr", "layers": 2, "units": 4, "channels": 3, "scale": 2}
    save_model(folder, build(architecture, seed=0), architecture, {"task": "sr", "level": 2})
    figures = Figures(psnr=30.0, ssim=0.9)
    provenance = Provenance(
        protocol="sr", data_sha256="d" * 64, weights_sha256="w" * 64, code_sha256="c" * 64, images={"Set5": 5}
    )
    metrics = Metrics(sets={"Set5": SetFigures(input=figures, model=figures, ensemble=figures)}, provenance=provenance)
    (folder / "metrics.json").write_bytes(metrics.dumps())
    (folder / "README.md").write_text("# tiny-x2: super-resolution\n")
    whole = Version.of(SHIPPED, {path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    (folder / MANIFEST).write_bytes(whole.manifest)


def test_it_is_the_wheel_that_is_imported_and_it_is_light(installed: Installed) -> None:
    lines = installed.python(
        "import sys, scn, data_prep, flows\n"
        "assert not {'torch', 'numpy', 'prefect', 'ray', 'dvc'} & set(sys.modules)\n"
        "print(*(module.__file__ for module in (scn, data_prep, flows)), scn.__version__, sep='\\n')\n"
        "print(*(network.name for network in scn.list_networks()))\n"
        "from importlib.resources import files\n"
        "assert (files('scn.evaluation.page') / 'templates' / 'report.css').is_file()\n"
        "from scn.evaluation.published import published\n"
        "assert published('sr', 2, 'Set5')\n"
        "assert 'torch' not in sys.modules\n"
    )
    assert all(Path(line).is_relative_to(installed.bin.parent) for line in lines[:3]), lines
    assert Path(lines[0]).with_name("py.typed").is_file()
    assert lines[3] == version("scn")
    assert {"scn", "srresnet", "carn", "dncnn"} <= set(lines[4].split())


def test_networks_are_created_and_a_model_that_ships_restores(installed: Installed) -> None:
    lines = installed.python(
        "import numpy as np, scn, torch\n"
        "network = scn.create_model('srresnet', conv='ms3', scale=2, blocks=1, units=8)\n"
        "print(tuple(network(torch.rand(1, 3, 8, 6)).shape))\n"
        "print([(model.name, model.version, model.task, model.level, model.scale) for model in scn.list_models()])\n"
        f"model = scn.load('{SHIPPED}', device='cpu')\n"
        "print(model.metrics.sets['Set5'].model.psnr, model.card.strip(), model.folder)\n"
        "image = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)\n"
        "restored = scn.restore(image, model)\n"
        "assert (restored == model.restore(image)).all() and (restored == scn.restore(image, model.folder)).all()\n"
        "print(restored.shape, restored.dtype)\n"
    )
    assert lines[0] == "(1, 3, 16, 12)"
    assert f"('{SHIPPED}', '', 'sr', 2, 2)" in lines[1]
    assert lines[2].startswith("30.0 # tiny-x2: super-resolution ")
    assert Path(lines[2].split()[-1]).is_relative_to(installed.bin.parent)
    assert lines[3] == "(16, 24, 3) uint8"


def test_the_commands_find_what_they_need(installed: Installed) -> None:
    assert installed.run("scn", "--version") == f"scn {version('scn')}\n"
    assert installed.run("scn", "preset").startswith("demo\n")
    assert "srresnet: SRResNet" in installed.run("scn", "networks")
    assert "scn-table5" in installed.run("scn", "study")
    templates = installed.python("from scn.studies.plot import templates; print(*templates().list_templates())")
    assert {"page.md.jinja", "plot.svg.jinja"} <= set(templates[0].split())
    assert f"| {SHIPPED} " in installed.run("scn", "models", "list")
    catalogue = [line.split()[:2] for line in installed.run("data-prep", "list").splitlines() if line.strip()]
    assert ["Set5", "5"] in catalogue
    assert ["DIV2K", "900"] in catalogue


def test_a_photograph_is_restored_by_the_command(installed: Installed, tmp_path: Path) -> None:
    Image.linear_gradient("L").crop((0, 0, 24, 16)).convert("RGB").save(tmp_path / "in.png")
    said = installed.run("scn", "restore", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--model", SHIPPED)
    assert said == f"1 image restored by {SHIPPED}, in {tmp_path / 'out.png'}\n"
    with Image.open(tmp_path / "out.png") as restored:
        assert (restored.size, restored.mode) == ((48, 32), "RGB")


WITHOUT_THE_PIPELINE = """
import json
import runpy
import sys
from importlib.abc import MetaPathFinder
from scn.core.pipeline import MODULES

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

assert not MODULES & set(sys.modules)
sys.meta_path.insert(0, Missing())
for program, *arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        runpy.run_module(program, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        assert "torch._dynamo" not in sys.modules, "PyTorch's compiler was loaded, which takes as long as PyTorch"
"""
"""Programs with their words, up to the first that fails, where no package of the extra `pipeline` is installed.

They start without a compiler.
"""
NEEDS_THE_PIPELINE = (
    "This needs the pipeline's packages, of which {} is not installed: `pip install 'scn[pipeline]'`, in a clone "
    "`pip install -c constraints.txt '.[pipeline]'`, does that.\n"
)


def test_a_photograph_needs_nothing_of_the_pipeline(installed: Installed, tmp_path: Path) -> None:
    Image.linear_gradient("L").crop((0, 0, 24, 16)).convert("RGB").save(tmp_path / "in.png")

    def scn(*commands: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return installed.without_the_pipeline(*(("scn.cli", *command) for command in commands))

    done = scn(
        ("restore", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--model", SHIPPED),
        ("restore", str(tmp_path / "in.png"), str(tmp_path / "two.png"), "--model", f"auto,{SHIPPED}"),
        ("models", "list"),
        ("models", "show", SHIPPED),
        ("models", "check", "--help"),
        ("serve", "--help"),
        ("networks",),
    )
    assert done.returncode == 0, done
    assert "srresnet: SRResNet" in done.stdout  # it came to the last one
    assert (tmp_path / "two.png").is_file()
    done = scn(("restore", "s3://bucket/in", "s3://bucket/out", "--model", SHIPPED))
    assert (done.returncode, done.stderr) == (1, f"scn: {NEEDS_THE_PIPELINE.format('boto3')}")


@pytest.mark.parametrize(
    ("program", "arguments", "missing"),
    [
        ("flows.scn", ["--experiment", "sr-x2"], "prefect"),
        ("flows.services", ["up"], "prefect"),
        ("flows.deployments", [], "prefect"),
        ("flows.lock", [], "dvc"),
        ("flows.metrics", [], "prometheus_client"),
        ("scn.storage.seaweedfs", ["up"], "boto3"),
    ],
)
def test_what_is_nothing_without_the_pipeline_says_so(
    installed: Installed, program: str, arguments: list[str], missing: str
) -> None:
    done = installed.without_the_pipeline((program, *arguments))
    name = "s3" if missing == "boto3" else "flows"
    assert (done.returncode, done.stderr) == (1, f"{name}: {NEEDS_THE_PIPELINE.format(missing)}")


def test_every_package_of_the_pipeline_is_known_by_its_modules() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[\[<>=!,;]", each)[0] for each in project["optional-dependencies"]["pipeline"]]
    wanted = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    found: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for distribution in distributions:
            found.setdefault(re.sub(r"[-_.]+", "-", distribution).lower(), set()).add(module)
    assert wanted <= set(found), wanted - set(found)
    for name in wanted:
        assert found[name] & MODULES, name
