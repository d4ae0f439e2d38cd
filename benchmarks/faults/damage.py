"""Damaged files: a byte flipped, cut in half, emptied. What notices it must say what to do, and that must help."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.event import Event, outcome_of
from benchmarks.faults.kills import undisturbed
from benchmarks.faults.project import MEND, NAME, REPRO, Project, last_sentence
from benchmarks.faults.running import Running

PART = "damage"
REGISTRY = f".scn/store/registry/{NAME}"
STOPPED = "stopped"
"""Name of the project that a training has left that was killed."""
Command = Sequence[str]


def force(stage: str) -> Command:
    """The command that runs a stage again though nothing has changed."""
    return ("dvc", "repro", "--force", "--single-item", f"{stage}@{NAME}")


def flip(data: bytes) -> bytes:
    """With the bits of the byte in the middle turned over."""
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 1]) + data[middle + 1 :]


WAYS: Mapping[str, Callable[[bytes], bytes]] = {
    "a byte flipped": flip,
    "cut in half": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
}
"""Ways to damage a file."""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What is damaged, what has to notice it, and what its message asks for."""

    what: str
    files: str
    """Glob pattern of the files, in the project."""
    gone: str = ""
    """A path in the project that is deleted besides, so that the damaged file is needed."""
    before: str = "whole"
    """Name under which the project was kept that is damaged."""
    command: Command = REPRO
    """What has to notice it, and may mend it by itself."""
    remedies: Mapping[str, Sequence[Command]] | None = None
    """Words of a message -> the commands that it asks for; {file} stands for a damaged file."""
    newest: bool = False
    """True: the newest of the files alone."""

    @property
    def fault(self) -> str:
        """Its name in the table."""
        return f"{self.what} damaged"


DELETE = ("rm", "-r", "{file}")
DAMAGES = (
    Damage(what="checkpoint", files=f".scn/runs/{NAME}/*/step-*.pt", before=STOPPED, newest=True),
    Damage(what="checkpoint in the store", files=f".scn/store/runs/{NAME}/*/step-*.pt", before=STOPPED, newest=True),
    Damage(
        what="all checkpoints, here and in the store",
        files=f".scn/**/runs/{NAME}/*/step-*.pt",
        before=STOPPED,
        remedies={"--no-resume": [("scn", "train", "--experiment", NAME, "--plain", "--no-resume")]},
    ),
    Damage(
        what="shards",
        files=".scn/store/shards/*/*/*.tar",
        command=force("train"),
        remedies={"data-prep shard": [force("shard"), force("train")]},
    ),
    Damage(what="records of shards", files=".scn/store/shards/*/made/*.json", command=force("shard")),
    Damage(what="manifest of shards", files=f"shards/{NAME}/train.json"),
    Damage(what="index of a corpus", files="indexes/pictures.json"),
    Damage(what="hashes of images", files=".scn/hashes/files.sqlite", command=force("shard")),
    Damage(what="model", files=f"models/{NAME}/model.safetensors"),
    Damage(what="figures", files=f"evaluations/{NAME}/model.json"),
    Damage(what="DVC's cache", files=".dvc/cache/files/md5/*/*", gone=f"models/{NAME}"),
    Damage(what="dvc.lock", files="dvc.lock", remedies={"dvc.lock": [MEND], "in schema": [MEND]}),  # docs/operations.md
    Damage(
        what="pointer",
        files=f"{REGISTRY}/latest.json",
        command=("scn", "models", "list"),
        remedies={"delete": [DELETE, ("scn", "models", "promote", f"{NAME}@v1")]},
    ),
    Damage(
        what="weights of a version",
        files=f"{REGISTRY}/v1/model.safetensors",
        command=("scn", "models", "verify"),
        remedies={"delete": [("rm", "-r", f"{REGISTRY}/v1"), ("scn", "publish", "--experiment", NAME)]},
    ),
    Damage(
        what="manifest of a version",
        files=f"{REGISTRY}/v1/manifest.json",
        command=("scn", "models", "verify"),
        remedies={"delete": [("rm", "-r", f"{REGISTRY}/v1"), ("scn", "publish", "--experiment", NAME)]},
    ),
)


def damage(folder: Path, only: Sequence[str] | None = None) -> Iterator[Event]:
    """Damages each of DAMAGES, or those whose fault `only` names, in each way."""
    project = Project(folder)
    project.make(ray=False)
    _, results = undisturbed(project)
    stopped = _keep_stopped(project)
    for each in (each for each in DAMAGES if not only or each.fault in only):
        for way, change in WAYS.items():
            yield _damage(project, results, each, way, change, stopped or each.before != STOPPED)


def _keep_stopped(project: Project) -> bool:
    """Keeps the project as a training leaves it that was killed after its second checkpoint; False if it had ended."""
    project.restore("before-train")
    running = Running(project, force("train"))
    while running.process.poll() is None and len(list(project.root.glob(DAMAGES[0].files))) < 2:
        time.sleep(0.002)
    met = running.kill(running.family())
    running.end()
    project.keep(STOPPED)
    return bool(met)


def _damage(
    project: Project,
    results: Mapping[str, str | bytes],
    each: Damage,
    way: str,
    change: Callable[[bytes], bytes],
    stopped: bool,
) -> Event:
    project.restore(each.before)
    files = sorted(path for path in project.root.glob(each.files) if path.is_file())
    if not files:
        raise RuntimeError(f"{each.files} are no files of the project")
    dealt = False
    for path in files[-1:] if each.newest else files:
        whole = path.read_bytes()
        data = change(whole)
        dealt |= stopped and data != whole
        path.unlink()  # it may be read-only, or share its bytes with another one
        path.write_bytes(data)
    if each.gone:
        shutil.rmtree(project.root / each.gone)
    running = Running(project, each.command)
    status = running.end()
    told = last_sentence(running.printed) if status else ""
    wrong = ["it hung"] if status is None else []
    for command in _asked_for(each, told) if status else []:
        words = [word.format(file=files[-1]) for word in command]
        done = project.here.run(*words, check=False)
        if done.returncode:
            wrong.append(f"{' '.join(words[:3])} failed: {last_sentence(done.stdout + done.stderr)}")
    again = Running(project)
    if again.end():
        wrong.append(f"the re-run failed: {last_sentence(again.printed)}")
    wrong += project.faults(results)
    return Event(
        part=PART,
        fault=each.fault,
        stage=" ".join(each.command),
        outcome=outcome_of(wrong, status, dealt),
        told=told,
        note="; ".join([way, *wrong]),
    )


def _asked_for(each: Damage, told: str) -> Sequence[Command]:
    return next((commands for words, commands in (each.remedies or {}).items() if words in told), ())
