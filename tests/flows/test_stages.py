"""The order of the stages is DVC's, and a stage's processes end with it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from flows.stages import StageFailed, run_stage, stages_of, topological_order
from scn.core.errors import UserError
from tests.flows.conftest import MakeScratch

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("experiment", ["sr-x2", "car-q40"])
def test_a_published_experiment_needs_its_own_stages_in_the_order_of_the_design(experiment: str) -> None:
    corpora = yaml.safe_load((ROOT / "params.yaml").read_text())["corpora"]["download"]
    stages = stages_of(ROOT, f"publish@{experiment}")
    assert sorted(stages[: len(corpora)]) == sorted(f"download@{corpus}" for corpus in corpora)
    assert stages[len(corpora) :] == [
        f"{stage}@{experiment}" for stage in ("plan", "shard", "train", "evaluate", "ensemble", "publish")
    ]


def test_topological_order_puts_every_node_after_those_that_point_to_it() -> None:
    dot = 'strict digraph {\n"d";\n"alone";\n"b" -> "d";\n"c" -> "d";\n"a" -> "b";\n"a" -> "c";\n}\n'
    order = topological_order(dot)
    assert sorted(order) == ["a", "alone", "b", "c", "d"]
    assert order.index("a") < min(order.index("b"), order.index("c"))
    assert order.index("d") > max(order.index("b"), order.index("c"))


def test_a_target_that_dvc_does_not_have_is_one_sentence(make_scratch: MakeScratch) -> None:
    with pytest.raises(UserError, match=r"^DVC can't tell the stages of publish@nope \(.+\): correct dvc\.yaml .+\.$"):
        stages_of(make_scratch(), "publish@nope")


def test_run_stage_hands_on_the_lines_and_makes_only_its_own_outputs(make_scratch: MakeScratch) -> None:
    project = make_scratch("echo first; echo second >&2; pwd > models/${key}")
    lines: list[str] = []
    for stage in ("download@mine", "train@sr-x2"):
        run_stage(project, stage, lines.append)
    assert lines.index("first") < lines.index("second")
    assert (project / "models/sr-x2").read_text() == f"{project}\n"
    assert not (project / "models/dn-s25").exists()
    assert not (project / "published").exists()


def test_the_reason_of_a_failed_stage_is_what_it_said_last(make_scratch: MakeScratch) -> None:
    project = make_scratch("echo working; echo 'scn: no shards there: make them.' >&2; exit 1")
    run_stage(project, "download@mine", print)
    with pytest.raises(StageFailed) as failed:
        run_stage(project, "train@sr-x2", print)
    assert str(failed.value) == "Stage train@sr-x2 failed: scn: no shards there: make them."
    assert "working" in failed.value.tail


def test_a_stage_that_is_left_early_leaves_no_process(make_scratch: MakeScratch) -> None:
    class Cancelled(BaseException):
        pass

    def cancel(line: str) -> None:
        if line == "ready":
            raise Cancelled

    project = make_scratch("echo $$ > pid; echo ready; sleep 300")
    run_stage(project, "download@mine", print)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        run_stage(project, "train@sr-x2", cancel)
    assert time.monotonic() - started < 250
    pid = (project / "pid").read_text().strip()
    stat = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    assert stat[:1] in ("", "Z")


def test_stages_use_the_programs_of_this_python_and_the_code_of_the_workspace(make_scratch: MakeScratch) -> None:
    project = make_scratch(
        "python -c 'import sys; print(sys.executable)' > models/${key}; echo $PYTHONPATH >> models/${key}"
    )
    for stage in ("download@mine", "train@sr-x2"):
        run_stage(project, stage, print)
    python, path = (project / "models/sr-x2").read_text().splitlines()
    assert Path(python).parent == Path(sys.executable).parent
    assert path.split(":")[0] == str(project)
