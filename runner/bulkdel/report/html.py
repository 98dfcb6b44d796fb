"""A report as one self-contained HTML page: no script, nothing from elsewhere. Every value is escaped.

`report.html.j2` draws its pictures as static SVG, from the numbers of `pictures`.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from bulkdel.command_line import quoted
from bulkdel.format import counted, lines_shown, span
from bulkdel.report import pictures
from bulkdel.report.facts import PLACEHOLDERS, Report
from bulkdel.report.words import time_words

TEMPLATE = "report.html.j2"
COLOURS = files("bulkdel.live.page").joinpath("colours.css")
"""The colours, which the live page has, too."""


def page(report: Report) -> str:
    """The page."""
    import jinja2  # noqa: PLC0415 - only a report needs it
    from markupsafe import Markup  # noqa: PLC0415

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else lines_shown(value),
    )
    environment.filters |= {"number": _number, "time": time_words, "typed": _typed, "span": span}
    colours = Markup(COLOURS.read_text(encoding="utf-8"))  # noqa: S704 - a file of the program
    environment.globals |= {"colours": colours, "pictures": pictures, "counted": counted}
    text = files("bulkdel.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(report=report)


def _number(value: Any) -> str:
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _typed(name: str) -> str:
    """The name of a run as it is typed; a placeholder for one that was left out."""
    return "RUN" if name in PLACEHOLDERS else quoted(name)
