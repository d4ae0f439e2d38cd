"""docs/serving-api.md names the requests and parameters that there are, and no others."""

import inspect
import re
from pathlib import Path
from typing import Any

from served_page import LIMITS
from starlette.routing import Match

from scn.serving import app

TEXT = (Path(__file__).parents[3] / "docs/serving-api.md").read_text()


def section(heading: str) -> str:
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_request_is_a_route_and_every_route_is_there() -> None:
    nothing: Any = None
    routes = app.make_app(nothing, nothing, list, LIMITS, ["*"]).routes
    requests = re.findall(r"`(?:(GET|POST|DELETE) )?(/[\w./]*)", TEXT.partition("\n## ")[0])
    assert len(requests) > len(routes)
    found = set[int]()
    for method, path in requests:
        scope = {"type": "http", "method": method or "GET", "path": path}
        number = next(number for number, each in enumerate(routes) if each.matches(scope)[0] == Match.FULL)
        found.add(number)
        assert getattr(routes[number], "path", "") != "/{file}" or (app.PAGE / path[1:]).is_file()
    assert len(found) == len(routes)
    assert all(f"`{file}`" in TEXT or f"/{file}`" in TEXT for file in app._FILES)


def test_every_parameter_and_every_field_of_a_job_is_there() -> None:
    parameters = {"format" if name == "as_format" else name for name in inspect.signature(app._wish).parameters}
    assert set(re.findall(r"^\| `(\w+)` \|", section("Sending a photograph"), re.MULTILINE)) == parameters | {"owner"}
    told = set(re.findall(r'^        "(\w+)": ', inspect.getsource(app._told), re.MULTILINE))
    job = section("A job")
    fields = {name for row in re.findall(r"^\| (`.*?) \|", job, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert told == fields | {"id", "name"} == set(re.findall(r'"(\w+)":', job))
