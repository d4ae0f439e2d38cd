"""One curve of a training as a picture that stands alone: an SVG file in a data URI."""

import base64

from scn.evaluation.page.environment import templates
from scn.evaluation.page.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, lines
from scn.evaluation.runs import Curve


def curve_uri(y_name: str, curve: Curve, *, log: bool = False) -> str:
    """Returns the plot of a curve over steps as a data URI; "" if no point can be drawn.

    Args:
        y_name: name of the vertical axis, with its unit.
        log: the vertical axis is logarithmic; only positive values are drawn.
    """
    plot = lines("", y_name, {(0, ""): curve}, log=log)
    if plot is None:
        return ""
    environment = templates()
    sides = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    environment.globals |= sides
    text = environment.get_template("curve.svg.j2").render(plot=plot)
    return f"data:image/svg+xml;base64,{base64.b64encode(text.strip().encode()).decode()}"
