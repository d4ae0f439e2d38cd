"""Limits of control groups, of both versions, as they lie under /sys/fs/cgroup."""

from pathlib import Path

import pytest

from scn.core import control_group
from scn.core.control_group import memory_left, processors
from scn.core.cpus import cpu_count, usable
from scn.core.openmp import limit_threads


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which groups lie; tests write the process's own groups to its "self"."""
    monkeypatch.setattr(control_group, "MOUNTED", tmp_path)
    monkeypatch.setattr(control_group, "SELF", tmp_path / "self")
    return tmp_path


def _write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_control_groups_there_is_no_limit(groups: Path) -> None:
    assert memory_left() is None
    assert processors() is None


def test_version_2_the_tightest_of_the_groups_above_decides(groups: Path) -> None:
    (groups / "self").write_text("0::/slice/job\n")
    _write(groups / "slice/job", memory__current=300, memory__max="max", memory__stat="inactive_file 100")
    _write(groups / "slice", memory__current=700, memory__max=1000, memory__stat="anon 600\ninactive_file 50")
    assert memory_left() == 1000 - 700 + 50
    _write(groups / "slice/job", memory__max=500)
    assert memory_left() == 500 - 300 + 100
    _write(groups / "slice/job", cpu__max="max 100000")
    assert processors() is None
    _write(groups / "slice", cpu__max="250000 100000")
    assert processors() == 2.5


def test_version_1_has_a_folder_for_each_controller(groups: Path) -> None:
    (groups / "self").write_text("9:memory:/job\n2:cpu,cpuacct:/job\n")
    _write(
        groups / "memory/job",
        memory__usage_in_bytes=300,
        memory__limit_in_bytes=500,
        memory__stat="total_inactive_file 10",
    )
    _write(groups / "cpu/job", cpu__cfs_quota_us=150000, cpu__cfs_period_us=100000)
    _write(groups / "cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert memory_left() == 210
    assert processors() == 1.5


def test_a_container_sees_its_own_group_as_the_root(groups: Path) -> None:
    (groups / "self").write_text("0::/kubepods/pod/of/the/host\n")
    _write(groups, memory__current=600, memory__max=500, memory__stat="inactive_file 0", cpu__max="50000 100000")
    assert memory_left() == 0
    assert processors() == 0.5


@pytest.mark.skipif(usable() < 2, reason="one CPU can't be limited to one")
def test_threads_are_as_many_as_the_group_has_processors(groups: Path) -> None:
    environment: dict[str, str] = {}
    limit_threads(environment)
    assert environment == {}
    assert cpu_count() == usable()
    (groups / "self").write_text("0::/\n")
    _write(groups, cpu__max="50000 100000")
    limit_threads(environment)
    assert environment == {"OMP_NUM_THREADS": "1"}
    assert cpu_count() == 1
    _write(groups, cpu__max="150000 100000")
    limit_threads(chosen := {"OMP_NUM_THREADS": "7"})
    assert chosen == {"OMP_NUM_THREADS": "7"}
