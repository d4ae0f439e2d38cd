"""The image: built with buildah, and `make run` in it from photographs to a published version."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.images import IMAGE, build, container, impossible, in_container, make_base, output, run, shown

MOST_BYTES = 1_950_000_000
"""Of the image with PyTorch for CPUs, unpacked."""
DEVELOPERS_TOOLS = ("moto", "cfnlint", "mypy", "selenium", "ruff", "pytest", "kubernetes_validate")

pytestmark = [pytest.mark.container, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> None:
    if why := impossible():
        pytest.skip(why)
    make_base(tmp_path_factory.mktemp("base"))
    build(tmp_path_factory.mktemp("image"))


@pytest.fixture
def machine(image: None) -> Iterator[str]:
    with container() as name:
        yield name


def test_it_says_what_it_is_and_runs_as_a_user(image: None) -> None:
    about = json.loads(output("buildah", "inspect", "--type", "image", IMAGE))
    config = about["OCIv1"]["config"]
    assert config["User"] == "scn"
    assert config["Labels"]["org.opencontainers.image.revision"] == "tested"
    (entry,) = json.loads(output("buildah", "images", "--json", IMAGE))
    assert _bytes(entry["size"]) < MOST_BYTES


def _bytes(size: str) -> float:
    number, unit = size.split()
    return float(number) * {"MB": 1e6, "GB": 1e9}[unit]


def test_it_has_what_flows_need_and_no_tools_of_developers(machine: str) -> None:
    for command in ("git", "ray", "prefect", "dvc"):
        assert run(machine, command, "--version").returncode == 0
    for command in ("scn", "data-prep"):
        assert run(machine, command, "--help").stdout.lstrip().startswith("Usage: " + command)
    found = f"import importlib.util; print([name for name in {DEVELOPERS_TOOLS} if importlib.util.find_spec(name)])"
    assert run(machine, "python", "-c", found).stdout == "[]\n"
    pillow = run(machine, "python", "-c", "import ray.dashboard.optional_deps, PIL; print(PIL.__version__)")
    assert pillow.stdout.endswith(".post0\n"), "pillow-simd is not what serves"


def test_a_login_shell_finds_its_commands(machine: str) -> None:
    """As KubeRay before 1.4 starts Ray."""
    done = run(machine, "bash", "-lc", "ray --version")
    assert done.stdout.startswith("ray, version"), done.stderr


def test_it_holds_no_settings_of_the_machine_that_built_it(machine: str) -> None:
    folder = Path(output("buildah", "mount", machine))
    private = ("etc/pip.conf", "root/.config", "app/.git", "app/deploy/.env", "app/.dvc/tmp/lock")
    assert [name for name in private if (folder / name).exists()] == []
    assert not list(folder.glob("pip/**/*.whl"))
    assert "/pip/" not in output("buildah", "inspect", "--type", "image", IMAGE)


def test_make_run_in_it_ends_with_figures_and_a_version(machine: str) -> None:
    printed = shown(*in_container(machine, "make", "run", "EXPERIMENTS=sr-x2"))
    assert re.search(
        r"^ *sr-x2 +sample/evaluation +\S+ / \S+ +\S+ / \S+ +\S+ / \S+ +\+[\d.]+ *$", printed, re.MULTILINE
    )

    def made(path: str) -> Any:
        """The content of a file of the container, which may lie in a volume."""
        return json.loads(run(machine, "cat", path).stdout)

    assert made(".scn/store/registry/sr-x2/latest.json")["version"] == "v1"
    assert made(".scn/store/registry/sr-x2/v1/manifest.json")["experiment"] == "sr-x2"
    figures = made("metrics/sr-x2.json")["sample/evaluation"]
    assert figures["model"]["psnr"] > figures["input"]["psnr"] + 1
