"""What all nodes of a cluster must have in common with the machine that starts a command, and whether a node has it."""

import hashlib
import os
import socket
from functools import cache
from importlib.metadata import version
from typing import Any

from scn.core.errors import UserError
from scn.core.hashing import package_folder

CODE = "code"
"""Key of the hash of this project's code in an installation; its other keys are names of packages."""
_PROJECT = ("scn", "data_prep")
_PACKAGES = ("torch", "numpy")  # Ray itself refuses nodes with another Python or Ray


def runtime_env() -> dict[str, Any]:
    """Ray's runtime environment for a cluster: every node runs the code of this process, and not its own."""
    # A few megabytes. No node has to have the commit of this process: its image may be older than the code.
    return {"py_modules": [str(package_folder(name)) for name in _PROJECT], "excludes": ["__pycache__"]}


def common() -> dict[str, str]:
    """What each node must have, by name: the hash of the code, and versions; empty without RAY_ADDRESS."""
    return dict(_installation()) if "RAY_ADDRESS" in os.environ else {}


def refusal(needed: dict[str, str]) -> UserError | None:
    """The error that says, with this node's name, what it has in another way than `needed`, from `common`, says.

    None: it has all in the same way.
    """
    here = _installation()
    different = [
        "other code of this project" if name == CODE else f"{name} {here[name]} in place of {value}"
        for name, value in needed.items()
        if here[name] != value
    ]
    if not different:
        return None
    import ray

    return UserError(
        f"The node {socket.gethostname()} ({ray.util.get_node_ip_address()}) has {', '.join(different)}: start all "
        "nodes from one image, or install the same commit with its constraints.txt on each."
    )


@cache
def _installation() -> dict[str, str]:
    import PIL

    hashes = hashlib.sha256()
    for name in _PROJECT:
        root = package_folder(name)
        for path in sorted(root.rglob("*.py")):
            hashes.update(f"{name}/{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    # Builds of PyTorch for a CPU and for CUDA, 2.13.0+cpu and 2.13.0, may be mixed: a GPU decides other bits anyway.
    versions = {name: version(name).partition("+")[0] for name in _PACKAGES}
    return {CODE: hashes.hexdigest(), **versions, "Pillow": PIL.__version__}
