"""What only the pipeline needs: packages of the extra `pipeline`, which photographs can do without."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

MODULES = frozenset(
    {
        "boto3",
        "dvc",
        "dvc_s3",
        "jinja2",
        "prefect",
        "prometheus_client",
        "pyarrow",
        "ray",
        "requests",
        "ruamel",
        "scipy",
        "skimage",
        "sqlalchemy",
        "tensorboardX",
        "urllib3",
        "webdataset",
    }
)
"""What its packages, and those that they bring along, are imported as."""


@contextmanager
def pipeline_needed(program: str) -> Iterator[None]:
    """Where a module of the extra `pipeline` is missing, the process ends with status 1, after one sentence.

    Args:
        program: the sentence's first word.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in MODULES:
            raise
        print(
            f"{program}: This needs the pipeline's packages, of which {name} is not installed: `pip install "
            "'scn[pipeline]'`, in a clone `pip install -c constraints.txt '.[pipeline]'`, does that.",
            file=sys.stderr,
        )
        sys.exit(1)


def check_installed(module: str) -> None:
    """Raises ModuleNotFoundError if a module is not installed, for what is to fail before it begins."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
