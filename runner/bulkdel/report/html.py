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
TEXTS = {"bulkdel.report": TEMPLATE, "bulkdel.live.page": "colours.css"}
"""The files by their package. The live page has the same colours."""


def page(report: Report) -> str:
    """The page."""
    import jinja2  # noqa: PLC0415 - only a report needs it

    environment = jinja2.Environment(
        loader=jinja2.DictLoader({name: files(of).joinpath(name).read_text("utf-8") for of, name in TEXTS.items()}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: lines_shown(value) if type(value) is str else value,
    )
    environment.filters |= {"number": _number, "time": time_words, "typed": _typed, "span": span}
    environment.globals |= {"pictures": pictures, "counted": counted}
    return environment.get_template(TEMPLATE).render(report=report)


def _number(value: Any) -> str:
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _typed(name: str) -> str:
    """The name of a run as it is typed; a placeholder for one that was left out."""
    return "RUN" if name in PLACEHOLDERS else quoted(name)
