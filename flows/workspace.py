"""Makes a workspace for a flow run: a clone of the project at a commit, with the project's cache, store and corpora.

Two runs in one DVC workspace would overwrite each other's outputs. As clones share DVC's cache, what one of them has
made is not made again in another.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from flows.environment import base_environment
from scn.config.params import PARAMS_FILE, Params, load_params
from scn.core.errors import UserError
from scn.core.files import write_atomically

RUNS = Path(".scn/flow-runs")
"""Folder of the clones, below the project's folder."""

_CORPORA_LOCK = "corpora.lock"
# The project's, for all runs: hashes of corpora, shards on this machine, and versions with the newest pointers seen.
_SHARED = (".scn/hashes", ".scn/shards", ".scn/cache")


def find_commit(project: Path, ref: str | None) -> str:
    """The commit of the project that `ref` names, as a full hash.

    Args:
        ref: branch, also one that only the git remote has, tag or commit; None: what is checked out.
    Raises:
        UserError: if the project is no git repository, or there is no such commit.
    """
    here = f"{project} is not the top folder of a git repository"
    try:
        top = git(project, "rev-parse", "--show-toplevel")
    except UserError as error:
        if "not a git repository" not in str(error):
            raise
        raise UserError(f"{here}: run this in the project's folder, or begin with `git init` and a commit.") from None
    if Path(top).resolve() != project.resolve():
        raise UserError(f"{here} ({top} is): run this in the project's folder.")
    for name in (ref, f"refs/remotes/{remote_of(project)}/{ref}") if ref else ("HEAD",):
        with suppress(UserError):
            return git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if ref is None:
        raise UserError(f"{project} has no commit yet, and a flow runs what is committed: commit first.")
    raise UserError(f"'{ref}' is no branch, tag or commit in {project}: see `git branch --all` and `git log`.")


def remote_of(project: Path) -> str:
    """The project's git remote: origin, or the only one; "" if there is none."""
    names = git(project, "remote").split()
    return "origin" if "origin" in names else names[0] if len(names) == 1 else ""


def params_at(project: Path, commit: str) -> Params:
    """Reads params.yaml as it is in a commit. Raises UserError if it is missing or wrong."""
    try:
        text = git(project, "show", f"{commit}:{PARAMS_FILE}")
    except UserError:
        raise UserError(f"{PARAMS_FILE} is not in commit {commit[:9]} of {project}: commit it.") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS_FILE
        path.write_text(text)
        name = f"{PARAMS_FILE} (commit {commit[:9]})"  # what messages call it
        try:
            return load_params(path).model_copy(update={"path": Path(name)})
        except UserError as error:
            raise UserError(str(error).replace(str(path), name)) from None


def uncommitted(project: Path) -> list[str]:
    """Names of files with changes that are not committed, new files included; a clone does not have these changes.

    dvc.lock is left out: it records what was made and does not change what a run makes.
    """
    entries = git(project, "status", "--porcelain", "--no-renames", "-z").split("\0")
    return sorted(entry[3:] for entry in entries if entry[3:] not in ("", "dvc.lock"))


def make_workspace(project: Path, commit: str, params: Params, folder: Path) -> None:
    """Makes `folder` a clone of the project at `commit` that is ready for DVC; on an error it leaves none.

    It shares the project's DVC cache, its store if that is a folder, the corpora that are not in git, what is known of
    their files, and corpora.lock. So the project and every other run have what this run downloads.
    """
    shutil.rmtree(folder, ignore_errors=True)  # left by an earlier attempt of this run
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        git(project, "clone", "--quiet", "--no-checkout", str(project), str(folder))
        git(folder, "checkout", "--quiet", "--detach", commit)
        if not (folder / ".dvc").is_dir():
            raise UserError(f"Commit {commit[:9]} of {project} is no DVC project: run `dvc init` and commit .dvc.")
        _share_cache(project, folder)
        scheme, _, store = params.storage.url.partition("://")
        if scheme == "file" and not Path(store).expanduser().is_absolute():
            (project / store).mkdir(parents=True, exist_ok=True)
            _link(project, folder, store)
        for shared in _SHARED:
            (project / shared).mkdir(parents=True, exist_ok=True)
            _link(project, folder, shared)
        if not Path(params.corpora.root).expanduser().is_absolute():
            (project / params.corpora.root).mkdir(parents=True, exist_ok=True)
        for path in (params.corpora.root, *params.corpora.local.values()):
            _link(project, folder, path)
        if not (folder / _CORPORA_LOCK).exists():
            (folder / _CORPORA_LOCK).symlink_to(project.resolve() / _CORPORA_LOCK)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _share_cache(project: Path, folder: Path) -> None:
    """Gives DVC in the clone the project's settings of this machine, its cache, and remotes that are folders in it."""
    from dvc.config import Config  # as fast as four commands of DVC are slow

    local = Path(".dvc/config.local")
    if (project / local).is_file():  # this machine's remotes and keys
        write_atomically(folder / local, (project / local).read_bytes(), private=True)
    found = Config(str(project / ".dvc"))
    with Config(str(folder / ".dvc")).edit("local") as settings:
        settings["cache"]["dir"] = str(project / (found["cache"].get("dir") or ".dvc/cache"))
        settings["core"]["autostage"] = True  # otherwise DVC advises on git in the log
        for name, remote in found["remote"].items():
            if "://" not in remote.get("url", "://"):  # a folder, perhaps relative to the clone
                settings["remote"].setdefault(name, {})["url"] = str(project / remote["url"])


def _link(project: Path, folder: Path, relative: str) -> None:
    """Links `relative`, a path in params.yaml, in the clone to the same path in the project."""
    if not Path(relative).is_absolute() and (project / relative).exists() and not (folder / relative).exists():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # for a path outside of the clone another run may make the same link
            (folder / relative).symlink_to((project / relative).resolve())


def git(folder: Path, *arguments: str, settings: Mapping[str, str] | None = None, seconds: float | None = None) -> str:
    """Runs git in `folder` and returns what it prints.

    Args:
        settings: further environment variables.
        seconds: that it may take.
    Raises:
        UserError: if it fails or takes too long.
    """
    command = ["git", "-C", str(folder), *arguments]
    # Nobody is there to answer a question for a password.
    silent = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")}
    english = {"LC_ALL": "C"}  # its words tell one failure from another
    environment = {**base_environment(), **silent, **english, **(settings or {})}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        raise UserError("git is not installed, and a flow runs in a clone of the project: install it.") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"`{' '.join(command)}` took longer than {seconds:g} s: see if its remote answers.") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        why = (line for words in ("cannot lock ref", "rejected]") for line in reversed(lines) if words in line)
        words = next(why, lines[-1]).strip()
        raise UserError(f"`{' '.join(command)}` failed ({words}): mend that and run the flow again.")
    return done.stdout.removesuffix("\n")
