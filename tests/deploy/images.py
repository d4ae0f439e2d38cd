"""Builds the project's image with buildah, and runs commands in it, without a registry of images."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = "localhost/scn-test-base"
"""Debian's bookworm, made with debootstrap: what FROM of the Dockerfile asks a registry for."""
IMAGE = "localhost/scn-test"
CHROOT = ["--isolation", "chroot"]
"""Runs a command where no container can be made: in the image's files, with this machine's network and processes."""
FREE_BYTES = {"overlay": 10e9, "vfs": 40e9}
"""What the layers take on the disk, by how buildah keeps them: `vfs` copies all that lies below each of them."""
SLIM = {
    "etc/apt/apt.conf.d/docker-clean": 'DPkg::Post-Invoke {"rm -f /var/cache/apt/archives/*.deb";};\n',
    "etc/dpkg/dpkg.cfg.d/docker": "path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\n"
    "path-exclude /usr/share/info/*\npath-exclude /usr/share/locale/*\n",
}
"""Settings of Debian's slim images: packages that were installed and documentation are not kept."""


def impossible() -> str:
    """Why no image can be built here; "" if one can."""
    if os.geteuid():
        return "images are built by root alone"
    for tool in ("buildah", "debootstrap"):
        if not shutil.which(tool):
            return f"there is no command `{tool}` here (Debian's package of that name)"
    asked = subprocess.run(["buildah", "info"], capture_output=True, text=True)
    if asked.returncode:
        return f"buildah can't keep images here: {asked.stderr.strip()}"
    store = json.loads(asked.stdout)["store"]
    folder, needed = store["GraphRoot"], FREE_BYTES.get(store["GraphDriverName"], FREE_BYTES["vfs"])
    if (free := shutil.disk_usage(folder).free) < needed:
        return f"{folder} has {free / 1e9:.0f} GB free, and the image's layers take {needed / 1e9:.0f} GB there"
    return ""


def output(*words: str | Path) -> str:
    """Runs a command, which must succeed, and returns what it prints."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def shown(*words: str | Path) -> str:
    """Runs a command, which must succeed, shows what it prints as it comes (`pytest -s`), and returns it."""
    lines = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    assert process.returncode == 0, f"{words}:\n{''.join(lines)[-5000:]}"
    return "".join(lines)


def make_base(folder: Path) -> None:
    """Makes the base image unless it is there; `folder` is empty and may be used."""
    if output("buildah", "images", "--quiet", "--filter", f"reference={BASE}"):
        return
    shown("debootstrap", "--variant=minbase", "bookworm", folder)
    for left in (*(folder / "var/cache/apt/archives").glob("*.deb"), *(folder / "var/lib/apt/lists").glob("*_*")):
        left.unlink()
    for name in ("doc", "man", "info", "locale"):
        shutil.rmtree(folder / "usr/share" / name, ignore_errors=True)
    for name, text in SLIM.items():
        (folder / name).write_text(text)
    made = output("buildah", "from", "scratch")
    output("buildah", "add", "--quiet", made, folder, "/")
    output("buildah", "commit", "--quiet", "--rm", made, BASE)
    shutil.rmtree(folder)


def build(folder: Path) -> None:
    """Builds the image of what git knows here, committed or not; `folder` is empty and may be used."""
    context = folder / "context"
    for name in output("git", "-C", ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, context / name)
    words = ["buildah", "build", *CHROOT, "--layers", "--force-rm", "--build-arg", f"BASE={BASE}"]
    shown(*words, "--build-arg", "COMMIT=tested", *_pip_settings(folder), "--tag", IMAGE, context)


def _pip_settings(folder: Path) -> list[str]:
    """Options of `buildah build` that let pip in the build use the settings, and the folders, that pip has here."""
    mounts = set()

    def inside(word: str) -> str:
        path = Path(word.removeprefix("file://"))
        if not (path.is_absolute() and path.exists()):
            return word
        mounted = path.parent if path.name == "simple" else path  # an index, whose files lie beside it
        mounts.add(f"--volume={mounted}:/pip{mounted}:ro")
        return word.replace(str(path), f"/pip{path}")

    listed = output(sys.executable, "-m", "pip", "config", "list")
    found = dict(re.findall(r"^(?:global\.|:env:\.)([\w-]+)='(.*)'$", listed, re.MULTILINE))
    lines = [f"{key} = {' '.join(map(inside, value.split()))}" for key, value in found.items()]
    settings = folder / "pip.conf"
    settings.write_text("\n".join(["[global]", *lines, ""]))
    return [*sorted(mounts), "--secret", f"id=pip,src={settings}"]


@contextmanager
def container() -> Iterator[str]:
    """Yields the name of a container of the image, which ends with the context."""
    name = output("buildah", "from", IMAGE)
    try:
        yield name
    finally:
        output("buildah", "rm", name)


def run(container: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a container, as the image's user and in its folder."""
    return subprocess.run(in_container(container, *words), capture_output=True, text=True)


def in_container(container: str, *words: str) -> list[str]:
    """The command that runs a command in a container, as the image's user and in its folder."""
    return ["buildah", "run", *CHROOT, container, "--", *words]
