"""What git ignores stays out of the image, too, where `docker build` is called in a folder with all of it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lines(name: str) -> set[str]:
    return {line for line in (ROOT / name).read_text().splitlines() if line and line[0] not in "#!"}


def test_docker_ignores_what_git_ignores() -> None:
    wanted = {line.strip("/") if line.startswith("/") else f"**/{line.rstrip('/')}" for line in lines(".gitignore")}
    assert wanted <= lines(".dockerignore")
