"""Secrets that tests plant in an environment, and the search for them in what is left."""

import subprocess
from pathlib import Path

SECRET = "planted-0b5e55ed"
PLANTED = {
    "AWS_SECRET_ACCESS_KEY": f"{SECRET}-aws",
    "PREFECT_API_KEY": f"{SECRET}-prefect",
    "PREFECT_API_AUTH_STRING": f"prefect:{SECRET}-auth",
    "RAY_AUTH_TOKEN": f"{SECRET}-ray",
    "HTTPS_PROXY": f"http://me:{SECRET}-proxy@127.0.0.1:9",
}


def left_in(folder: Path, words: bytes) -> set[str]:
    """The files below a folder, and `git` for an object of a repository there, that hold these words."""
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and words in path.read_bytes()
    }
    for repository in folder.rglob(".git"):
        objects = ["git", "-C", str(repository.parent), "cat-file", "--batch", "--batch-all-objects"]
        if words in subprocess.run(objects, capture_output=True, check=True).stdout:
            found.add("git")
    return found
