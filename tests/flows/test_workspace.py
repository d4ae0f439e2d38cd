"""A flow run's clone: what is committed, with the project's cache, store and corpora."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flows.stages import run_stage, stages_of
from flows.workspace import RUNS, find_commit, git, make_workspace, params_at, uncommitted
from scn.core.errors import UserError
from scn.core.files import write_atomically
from tests.flows.conftest import PARAMS, MakeScratch, commit_all, run

ROOT = Path(__file__).parents[2]
STAGES = ["download@mine", "train@sr-x2", "publish@sr-x2"]


def make(project: Path, folder: Path, ref: str | None = None) -> None:
    commit = find_commit(project, ref)
    make_workspace(project, commit, params_at(project, commit), folder)


def test_a_workspace_holds_what_is_committed_and_not_what_is_not(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    (project / "file.txt").write_text("changed")
    (project / "new.txt").write_text("new")
    make(project, tmp_path / "workspace")
    assert (tmp_path / "workspace/file.txt").read_text() == "committed"
    assert not (tmp_path / "workspace/new.txt").exists()
    assert uncommitted(project) == ["file.txt", "new.txt"]


def test_a_ref_names_an_older_commit(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    run(project, "git", "tag", "first")
    (project / "file.txt").write_text("changed")
    commit_all(project)
    make(project, tmp_path / "first", "first")
    make(project, tmp_path / "now")
    assert (tmp_path / "first/file.txt").read_text() == "committed"
    assert (tmp_path / "now/file.txt").read_text() == "changed"


def test_store_and_corpora_are_those_of_the_project(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    make(project, tmp_path / "workspace")
    (tmp_path / "workspace/.scn/store/object").write_text("published")
    assert (project / ".scn/store/object").read_text() == "published"
    for shared in (".scn/hashes", ".scn/shards", ".scn/cache"):
        assert (tmp_path / "workspace" / shared).resolve() == project.resolve() / shared
    assert (tmp_path / "workspace/photos/mine/photograph.png").read_text() == "pixels"
    assert run(tmp_path / "workspace", "git", "status", "--porcelain", "file.txt", "params.yaml") == ""


def test_keys_of_this_machine_stay_the_users_own(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    local = project / ".dvc/config.local"
    local.write_text("['remote \"shared\"']\n    url = s3://bucket/dvc\n    secret_access_key = word\n")
    local.chmod(0o600)
    make(project, tmp_path / "workspace")
    copy = tmp_path / "workspace/.dvc/config.local"
    assert "secret_access_key = word" in copy.read_text()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_what_a_run_downloads_is_the_projects(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    assert not (project / "corpora").exists()
    make(project, tmp_path / "workspace")
    (tmp_path / "workspace/corpora/Set5").mkdir()
    assert (project / "corpora/Set5").is_dir()
    lock = tmp_path / "workspace/corpora.lock"
    write_atomically(lock.resolve(), b"{}")  # as data_prep.acquire does
    assert (project / "corpora.lock").read_text() == "{}"
    make(project, tmp_path / "another")
    assert (tmp_path / "another/corpora.lock").read_text() == "{}"
    assert (tmp_path / "another/corpora/Set5").is_dir()


def test_a_committed_record_of_downloads_is_the_commits(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    (project / "corpora.lock").write_text("{}")
    commit_all(project)
    (project / "corpora.lock").write_text("{ }")
    make(project, tmp_path / "workspace")
    assert (tmp_path / "workspace/corpora.lock").read_text() == "{}"


def test_removing_a_workspace_leaves_store_and_corpora(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    make(project, tmp_path / "workspace")
    (project / ".scn/store/object").write_text("published")
    shutil.rmtree(tmp_path / "workspace")
    assert (project / ".scn/store/object").read_text() == "published"
    assert (project / "photos/mine/photograph.png").read_text() == "pixels"


def test_what_one_workspace_made_is_made_in_every_other(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    make(project, tmp_path / "one")
    assert sorted(stages_of(tmp_path / "one", "publish@sr-x2")) == sorted(STAGES)
    for stage in STAGES:
        run_stage(tmp_path / "one", stage, print)
    published = (project / ".scn/store/sr-x2").read_text()

    make(project, tmp_path / "two")
    for folder in (tmp_path / "two", project):  # the project itself is such a workspace too
        lines: list[str] = []
        for stage in STAGES:
            run_stage(folder, stage, lines.append)
        assert sum("is cached - skipping run" in line for line in lines) == len(STAGES)
        assert (folder / "models/sr-x2").read_text() == f"{tmp_path / 'one'}\n"  # where it was made
    assert (project / ".scn/store/sr-x2").read_text() == published


def test_the_cache_is_cleared_without_what_a_kept_workspace_names(make_scratch: MakeScratch) -> None:
    """By the command of docs/operations.md: no branch names what a failed run made, and a full disk cut a lock off."""
    [command] = re.findall(r"`WORKER ((?:sh -c ')?dvc gc .*?)`", (ROOT / "docs/operations.md").read_text())
    project = make_scratch()
    kept, cut_off = (project / RUNS / name for name in ("sr-x2-0b5e55ed", "dn-s25-0dd5eed5"))
    make(project, kept)
    run_stage(kept, STAGES[0], print)
    shutil.copytree(kept, cut_off, symlinks=True)
    (cut_off / "dvc.lock").write_bytes((kept / "dvc.lock").read_bytes()[:20])
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for left in (True, False):
        subprocess.run(command, shell=True, cwd=project, env=environment, check=True, capture_output=True)
        assert any(file.is_file() for file in (project / ".dvc/cache/files").rglob("*")) is left
        shutil.rmtree(kept, ignore_errors=True)


def test_a_folder_that_is_no_repository_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match=r"is not the top folder of a git repository: run this in the project's folder"):
        find_commit(tmp_path, None)


def test_git_answers_in_english_whatever_the_users_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")  # in which LANGUAGE counts, while it does not in C
    assert git(tmp_path, "-c", "alias.told=!echo $LC_ALL", "told") == "C"


def test_a_folder_inside_a_repository_is_one_sentence(make_scratch: MakeScratch) -> None:
    project = make_scratch()
    with pytest.raises(UserError, match=rf"is not the top folder of a git repository \({project} is\)"):
        find_commit(project / "photos", None)


def test_a_repository_without_a_commit_is_one_sentence(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "--quiet")
    with pytest.raises(UserError, match=r"has no commit yet, and a flow runs what is committed: commit first\.$"):
        find_commit(tmp_path, None)


@pytest.mark.parametrize("ref", ["nope", "--all", "HEAD:params.yaml"])
def test_an_unknown_ref_is_one_sentence(make_scratch: MakeScratch, ref: str) -> None:
    with pytest.raises(UserError, match=rf"^'{ref}' is no branch, tag or commit in "):
        find_commit(make_scratch(), ref)


def test_a_repository_without_dvc_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    run(project, "git", "init", "--quiet")
    (project / "params.yaml").write_text(PARAMS)
    commit_all(project)
    with pytest.raises(UserError, match=r"is no DVC project: run `dvc init` and commit \.dvc\.$"):
        make(project, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_mistakes_in_the_committed_configuration_name_the_commit(make_scratch: MakeScratch) -> None:
    project = make_scratch()
    (project / "params.yaml").write_text(PARAMS.replace("corpora:", "corpra:"))
    commit = commit_all(project)
    with pytest.raises(UserError, match=rf"^params\.yaml \(commit {commit[:9]}\): 'corpra' is no known key"):
        params_at(project, commit)
