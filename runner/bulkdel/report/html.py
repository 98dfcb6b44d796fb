"""A report as one self-contained HTML page: no script, nothing from elsewhere. Every value is escaped.

Its charts are static SVG. Their colours and fonts are those of the page (`report.html.j2`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from bulkdel.command_line import quoted
from bulkdel.format import counted, lines_shown, span
from bulkdel.report.facts import PLACEHOLDERS, OutcomeFacts, Report
from bulkdel.report.timeline import Throughput
from bulkdel.report.words import time_words

TEMPLATE = "report.html.j2"

WIDTH, HEIGHT = 760, 250
"""Of the chart of the throughput, in units of the SVG."""

BUCKETS_MIN = 3
"""A shorter run has no chart: it would show nothing but two points."""

TICKS_MAX = 8
TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
"""The distance between two ticks of the time axis."""

PART_MIN = 0.4
"""Percent of the bar that an outcome has at least, so that a few refused rows among millions can be seen."""

ROWS, SESSIONS, PAUSES, THROTTLED = "#1f6feb", "#666666", "#d29922", "#cf222e"
"""Strokes. The page replaces each by the colour of its light or dark form."""


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
    environment.globals |= {
        "parts": _parts,
        "counted": counted,
        "chart": lambda shown: Markup(throughput_svg(shown)),  # noqa: S704 - numbers and our own words only
    }
    text = files("bulkdel.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(report=report)


def _number(value: Any) -> str:
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _typed(name: str) -> str:
    """The name of a run as it is typed; a placeholder for one that was left out."""
    return "RUN" if name in PLACEHOLDERS else quoted(name)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the bar of the outcomes. x, width: percent."""

    kind: str
    x: float
    width: float


def _parts(outcomes: Sequence[OutcomeFacts]) -> tuple[_Part, ...]:
    """Divide the bar among the outcomes that occur."""
    shown = [each for each in outcomes if each.count]
    total = sum(each.count for each in shown)
    widths = [max(100 * each.count / total, PART_MIN) for each in shown]
    scale, x, found = 100 / sum(widths) if widths else 1.0, 0.0, []
    for each, width in zip(shown, widths, strict=True):
        found.append(_Part(each.kind, round(x, 3), round(width * scale, 3)))
        x += width * scale
    return tuple(found)


def throughput_svg(shown: Throughput) -> str:
    """Rows a minute over the time of the sessions; empty for a run that is too short."""
    if len(shown.per_minute) < BUCKETS_MIN:
        return ""
    import leather  # noqa: PLC0415 - only a report needs it

    top = max(*shown.per_minute, 1.0) * 1.08
    chart = leather.Chart()
    chart.add_x_scale(0, shown.length_s)
    chart.add_y_scale(0, top)
    chart.add_x_axis(ticks=_ticks(shown.length_s), tick_formatter=lambda value, *_: _time_words(float(value)))
    chart.add_y_axis(tick_formatter=lambda value, *_: f"{float(value):,.0f}")
    if shown.pauses:
        corners = [((a, 0.0), (a, top), (b, top), (b, 0.0), (None, None)) for a, b in shown.pauses]
        chart.add_line([point for each in corners for point in each], name="paused", stroke_color=PAUSES, width=1)
    chart.add_line(_steps(shown), name="rows a minute", stroke_color=ROWS, width=2)
    lines = [((at, 0.0), (at, top), (None, None)) for at in shown.sessions]
    chart.add_line([point for each in lines for point in each], name="a session begins", stroke_color=SESSIONS, width=1)
    if shown.throttled:
        marks = [((at, 0.0), (at, top / 12), (None, None)) for at in shown.throttled]
        points = [point for each in marks for point in each]
        chart.add_line(points, name="answered 429", stroke_color=THROTTLED, width=3)
    svg: str = chart.to_svg(width=WIDTH, height=HEIGHT)
    # The library writes a size in pixels. The page needs one that fits its width.
    old = f'<svg width="{WIDTH}" height="{HEIGHT}"'
    begin = svg.index("<svg")
    assert svg[begin:].startswith(old), "the size is where leather writes it"
    label = 'role="img" aria-label="rows a minute over the time of the sessions"'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {label}{svg[begin + len(old) :]}'


def _steps(shown: Throughput) -> list[tuple[float, float]]:
    points, width, last = [(0.0, 0.0)], shown.bucket_s, len(shown.per_minute) - 1
    for number, value in enumerate(shown.per_minute):
        end = shown.length_s if number == last else (number + 1) * width
        points += [(number * width, value), (end, value)]
    return [*points, (shown.length_s, 0.0)]


def _ticks(length_s: float) -> list[float]:
    step = next((step for step in TICK_STEPS_S if length_s / step <= TICKS_MAX), None)
    if step is None:
        days = -(-length_s // (86_400 * TICKS_MAX))
        step = int(days * 86_400)
    return [float(step * i) for i in range(int(length_s // step) + 1)]


def _time_words(seconds: float) -> str:
    return "0" if seconds == 0 else span(seconds)
