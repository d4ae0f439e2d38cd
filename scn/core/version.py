"""The version of the project."""

from importlib.metadata import PackageNotFoundError, version


def project_version() -> str:
    """The version of the project, as it is installed; where it only lies on the path: "not installed"."""
    try:
        return version("scn")
    except PackageNotFoundError:
        return "not installed"
