"""Commits what a run made to the branch `runs/<experiment>`: its dvc.lock, merged three ways, stage by stage.

The branch's tip and the run's commit are the parents, and the tree is that of the run's commit with the merged
dvc.lock: in any clone `git checkout runs/sr-x2` and `dvc pull` bring what was made, and what it was made of. Nothing
that is checked out changes. A push that another run was faster than, here or at the remote, is refused by git, and made
again on top of it.
"""

import random
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.lock import LOCK, SCHEMA
from flows.stages import DVC, StageFailed, run_command
from flows.workspace import git, remote_of
from scn.core.errors import UserError
from scn.core.masking import masked

_ATTEMPTS = 20
_REMOTE_SECONDS = 120.0

Warn = Callable[[str], None]
"""Is called with a sentence on what failed and ends nothing."""


def branch_of(experiment: str) -> str:
    """The branch that the runs of an experiment are committed to."""
    return f"runs/{experiment}"


def record(
    project: Path,
    workspace: Path,
    commit: str,
    branch: str,
    stages: Sequence[str],
    message: str,
    warn: Warn,
    files: Sequence[str] = (),
) -> str:
    """Commits the lock of the stages of a run to `branch` of the project, and pushes it to the project's git remote.

    Args:
        workspace: the run's clone of the project, with its dvc.lock.
        commit: what the run was made of.
        stages: the stages that it ran; those of other runs of this branch are kept as it has them, and all else is
            as the commit has it.
        message: that of the commit.
        warn: is called if the remote does not take it.
        files: files of the workspace that are committed, too.
    Returns:
        the new commit, or the tip of the branch if that says the same.
    Raises:
        UserError: if the branch can't be moved, or a dvc.lock that its runs or the commit left is none.
    """
    remote = remote_of(project)
    lock = workspace / LOCK
    own = _stages(lock.read_text(), str(workspace)) if lock.is_file() else {}
    kept = {name: entry for name, entry in own.items() if name in stages}
    refusal = ""
    for attempt in range(_ATTEMPTS):
        tips = _tips(project, workspace, branch, remote)
        merged = _merged(workspace, commit, tips, kept)
        made = _commit(workspace, commit, tips, merged, files, message)
        try:
            git(workspace, "push", "--quiet", "origin", f"{made}:refs/heads/{branch}")
            refusal = _refusal(project, remote, made, branch)
            if not _outrun(refusal) or attempt == _ATTEMPTS - 1:
                break
        except UserError as error:
            if "checked out" in str(error):
                raise UserError(
                    f"{branch} is checked out in {project}, so that nothing can be committed to it: switch to another "
                    "branch there."
                ) from None
            if stands := _in_the_way(str(error)):
                raise UserError(f"{branch} can't be made, as {project} has a {stands}: rename that one.") from None
            if attempt == _ATTEMPTS - 1:
                raise
        time.sleep(random.uniform(0.1, 0.5) * (attempt + 1))  # another run was faster
    if refusal:
        warn(refusal)
    return made


def recorded(workspace: Path, branch: str) -> bool:
    """Makes the dvc.lock of a branch of runs that of the workspace; False if there is no such branch."""
    if not git(workspace, "ls-remote", "origin", f"refs/heads/{branch}"):
        return False
    git(workspace, "fetch", "--quiet", "origin", f"refs/heads/{branch}")
    (workspace / LOCK).write_text(git(workspace, "show", f"FETCH_HEAD:{LOCK}") + "\n")
    return True


def push_again(workspace: Path, branch: str, warn: Warn) -> None:
    """Pushes a branch of runs that the project's git remote has not taken from a run; `warn` is called if it fails."""
    project = Path(git(workspace, "remote", "get-url", "origin"))
    refusal = _refusal(project, remote_of(project), f"refs/heads/{branch}", branch)
    if refusal and not _outrun(refusal):  # else it has what another machine made, on top of which the next run goes
        warn(refusal)


def push_outputs(workspace: Path, stages: Sequence[str], line_written: Callable[[str], None], warn: Warn) -> None:
    """Runs `dvc push` for the stages of a run, where DVC has a default remote; `warn` is called if it fails."""
    try:
        run_command(workspace, "dvc push", [*DVC, "push", *stages], line_written)
    except StageFailed as error:
        # DVC's last line is only the command that would add one.
        if not any("no remote" in line for line in error.tail):
            warn(f"What was made is not in DVC's remote: {error}: mend that and run the flow again.")


def _refusal(project: Path, remote: str, commit: str, branch: str) -> str:
    """Pushes a commit to the branch of the project's remote; why that does not take it, or ""."""
    if remote:
        try:
            git(project, "push", "--quiet", remote, f"{commit}:refs/heads/{branch}", seconds=_REMOTE_SECONDS)
        except UserError as error:
            if stands := _in_the_way(str(error)):
                return f"{branch} is not pushed to {remote}, which has a {stands}: rename that one there."
            return f"{branch} is not pushed to {remote}: {masked(str(error))}"
    return ""


def _in_the_way(refusal: str) -> str:
    """What keeps git from making a branch, which is a file in folders: "branch runs" for runs/sr-x2; "" if nothing."""
    found = re.search(r"'refs/heads/([^']+)' exists; cannot create", refusal)
    return f"branch {found[1]}" if found else ""


def _outrun(refusal: str) -> bool:
    """Whether a remote refuses a commit because it has another one: its hooks and rules are `[remote rejected]`."""
    return "[rejected]" in refusal or "cannot lock ref" in refusal


def _tips(project: Path, workspace: Path, branch: str, remote: str) -> list[str]:
    """The commits that the branch points to, in the project and in its remote; one if the other is a part of it."""
    found = []
    if remote:
        with suppress(UserError):  # one that is away takes no push either, which is told
            if git(project, "ls-remote", remote, f"refs/heads/{branch}", seconds=_REMOTE_SECONDS):
                there = f"refs/remotes/{remote}/{branch}"
                git(project, "fetch", "--quiet", remote, f"+refs/heads/{branch}:{there}", seconds=_REMOTE_SECONDS)
                git(workspace, "fetch", "--quiet", "origin", there)
                found.append(git(workspace, "rev-parse", "FETCH_HEAD"))
    if git(workspace, "ls-remote", "origin", f"refs/heads/{branch}"):
        git(workspace, "fetch", "--quiet", "origin", f"refs/heads/{branch}")
        found.append(git(workspace, "rev-parse", "FETCH_HEAD"))
    return git(workspace, "merge-base", "--independent", *found).split() if len(found) > 1 else found


def _lock(workspace: Path, commit: str) -> dict[str, Any]:
    """The stages of dvc.lock in a commit; none if it has no such file."""
    found = git(workspace, "ls-tree", commit, LOCK)
    return _stages(git(workspace, "show", f"{commit}:{LOCK}"), f"commit {commit[:9]}") if found else {}


def _stages(text: str, where: str) -> dict[str, Any]:
    """Stage -> what a dvc.lock says of it, as DVC reads it. Raises UserError if it is none."""
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import parse_yaml

    try:
        stages: dict[str, Any] = dict((parse_yaml(text, LOCK) or {}).get("stages") or {})
    except (DvcException, AttributeError, TypeError, ValueError):
        raise UserError(
            f"{LOCK} of {where} can't be read: put an earlier one (`git log {LOCK}`) in a new commit on that branch."
        ) from None
    return stages


def _merged(workspace: Path, commit: str, tips: Sequence[str], own: Mapping[str, Any]) -> dict[str, Any]:
    """The stages of the commit with what runs of the branch have changed, up to its tips, and with `own` at last.

    A tip also holds what its commit said of other experiments. That is compared with where they parted: otherwise it
    would take back what was committed since.
    """
    theirs = _lock(workspace, commit)
    found = theirs
    if tips:
        ours = _lock(workspace, tips[0])
        for number, tip in enumerate(tips[1:], 1):
            ours = _three_ways(_bases(workspace, tip, tips[:number]), _lock(workspace, tip), ours)
        found = _three_ways(_bases(workspace, commit, tips), ours, theirs)
    found = {**found, **own}
    # In the commit's order, so that `git merge` of the branch meets only the stages that differ.
    return {name: found[name] for name in (*theirs, *sorted(found)) if name in found}


def _bases(workspace: Path, commit: str, others: Sequence[str]) -> list[dict[str, Any]]:
    """The stages where a commit and others parted; there are several after merges both ways, and may be none."""
    try:
        found = git(workspace, "merge-base", "--all", commit, *others).split()
    except UserError:  # git's way to say that it knows none, as in a clone without the whole history
        found = []
    return [_lock(workspace, base) for base in found]


def _three_ways(
    bases: Sequence[Mapping[str, Any]], ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> dict[str, Any]:
    """Each stage as `theirs` has it where `ours` is still as a base is, otherwise as `ours` has it."""
    found: dict[str, Any] = {}
    for name in ours.keys() | theirs.keys():
        mine, other, before = ours.get(name), theirs.get(name), [base.get(name) for base in bases]
        changed = mine not in before
        if mine is None:  # deleted, which only a commit does: what another has changed goes before that
            changed = changed and other in before
        entry = mine if changed else other
        if entry is not None:
            found[name] = entry
    return found


def _commit(
    workspace: Path,
    commit: str,
    tips: Sequence[str],
    stages: Mapping[str, Any],
    files: Sequence[str],
    message: str,
) -> str:
    """A new commit with `stages` as its dvc.lock; the tip if that has the same tree, and `commit` in its past."""
    from dvc.utils.serialize import dumps_yaml

    paths = {name: workspace / name for name in files}
    if stages:
        paths[LOCK] = workspace / ".git" / LOCK
        paths[LOCK].write_text(dumps_yaml({"schema": SCHEMA, "stages": dict(stages)}))
    who = {"NAME": "scn flow", "EMAIL": f"flow@{socket.gethostname()}"}
    settings = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
    settings["GIT_INDEX_FILE"] = str(workspace / ".git" / "index-of-runs")
    git(workspace, "read-tree", commit, settings=settings)
    for name, path in paths.items():
        blob = git(workspace, "hash-object", "-w", str(path))
        git(workspace, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", settings=settings)
    tree = git(workspace, "write-tree", settings=settings)
    same = len(tips) == 1 and git(workspace, "rev-parse", f"{tips[0]}^{{tree}}") == tree
    if same and git(workspace, "merge-base", "--independent", tips[0], commit) == tips[0]:
        return tips[0]
    parents = [word for parent in (*tips, commit) for word in ("-p", parent)]
    return git(workspace, "commit-tree", tree, *parents, "-m", message, settings=settings)
