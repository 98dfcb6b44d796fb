"""The metrics of a run in the Prometheus text format, made at the moment of each scrape. Needs the extra `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

LABELS = ("job", "pool", "run_id")

OTHER_ROWS = ("left_out", "remaining")
"""Rows without an outcome of the server. With those that have one they add up to the export."""

COUNTERS = {
    "bulkdel_requests": ("requests", "Requests of this session, look-ups and sign-ins included."),
    "bulkdel_retries": ("retries", "Requests of this session that were sent again."),
    "bulkdel_throttled": ("throttled", "Responses 429 of this session."),
}
"""Prometheus adds `_total` to the name."""


class Metrics:
    """A registry of its own with the figures of one run. look: the status of the run."""

    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self._look = look
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """The metrics as they are now."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Return none: else the registry would collect once to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the status and turn it into metrics."""
        status = self._look()
        if "latency" not in status:
            return  # nothing was sent
        run = [str(status[name] or "") for name in LABELS]
        rows = GaugeMetricFamily("bulkdel_rows", "Rows of the export by outcome.", labels=[*LABELS, "outcome"])
        for outcome, count in {**status["counts"], **{name: status[name] for name in OTHER_ROWS}}.items():
            rows.add_metric([*run, outcome], count)
        yield rows
        for name, (key, words) in COUNTERS.items():
            counter = CounterMetricFamily(name, words, labels=LABELS)
            counter.add_metric(run, status[key])
            yield counter
        rate = status["rate"]
        allowed = rate["allowed"] or float("inf")
        yield _gauge(
            "bulkdel_rate_allowed", "Requests a second that are allowed now; +Inf without a limit.", run, allowed
        )
        yield _gauge("bulkdel_rate_used", "Requests a second that are sent.", run, rate["used"])
        yield _gauge("bulkdel_in_flight", "Requests on the wire.", run, status["in_flight"])
        yield _gauge("bulkdel_paused", "1 while the run is paused.", run, status["paused"] is not None)
        yield _gauge("bulkdel_breaker_open", "1 while the circuit breaker is open.", run, status["breaker"] == "open")
        if status["left_s"] is not None:
            yield _gauge("bulkdel_seconds_left", "Estimated seconds until the end.", run, status["left_s"])
        yield _histogram(status["latency"], run)


def _gauge(name: str, words: str, run: list[str], value: float) -> Metric:
    gauge = GaugeMetricFamily(name, words, labels=LABELS)
    gauge.add_metric(run, value)
    return gauge


def _histogram(latency: Mapping[str, Any], run: list[str]) -> Metric:
    buckets, total = [], 0
    bounds = [*map(str, latency["bounds_s"]), "+Inf"]
    for bound, count in zip(bounds, latency["counts"], strict=True):
        total += count
        buckets.append((bound, float(total)))
    histogram = HistogramMetricFamily("bulkdel_request_seconds", "Seconds from request to response.", labels=LABELS)
    histogram.add_metric(run, buckets, latency["sum_s"])
    return histogram
