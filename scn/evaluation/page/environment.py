"""The templates of the page, as Jinja reads them."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates() -> Environment:
    """Returns the environment of the templates: what is put in is escaped, and a name that is not known is an error."""
    return Environment(
        loader=PackageLoader("scn.evaluation.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
