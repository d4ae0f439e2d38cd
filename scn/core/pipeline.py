"""What only the pipeline needs: packages of the extra `pipeline`, which photographs can do without."""

from scn.core.errors import UserError

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


def not_installed(error: ModuleNotFoundError) -> UserError | None:
    """The sentence for a module of the extra `pipeline` that is missing; None: it is another one."""
    name = (error.name or "").partition(".")[0]
    if name not in MODULES:
        return None
    return UserError(
        f"This needs the pipeline's packages, of which {name} is not installed: `pip install 'scn[pipeline]'`, in a "
        "clone `pip install -c constraints.txt '.[pipeline]'`, does that."
    )
