"""The numbers of `proxy.metrics` in the text forms of Prometheus. Slow to import, so not before somebody asks."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import PROCESS_COLLECTOR
from prometheus_client.utils import floatToGoString

from proxy.metrics import FAMILIES, Family, Histogram, Snapshot

PREFIX = "reelgate_"


def render(snapshot: Snapshot, *, open_metrics: bool) -> tuple[bytes, str]:
    """The text and its Content-Type, as OpenMetrics 1.0.0 or in Prometheus's own form 0.0.4.

    It also has what the system tells of the process, which is read from files.
    """
    numbers = _Numbers(snapshot)
    if open_metrics:
        return openmetrics.generate_latest(numbers), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    return exposition.generate_latest(numbers), exposition.CONTENT_TYPE_PLAIN_0_0_4


class _Numbers:
    """A snapshot as prometheus-client wants to be given it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(f"{PREFIX}build", "The running version.", {"version": _version()})
        for name, family in FAMILIES.items():
            yield self._metric(name, family)
        yield from PROCESS_COLLECTOR.collect()

    def _metric(self, name: str, family: Family) -> Metric:
        if family.kind == "histogram":
            histogram = HistogramMetricFamily(PREFIX + name, family.help, labels=family.labels)
            for labels, one in self._snapshot.histograms[name].items():
                histogram.add_metric(labels, _buckets(one), one.total)
            return histogram
        made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        metric = made(PREFIX + name, family.help, labels=family.labels)
        for labels, value in self._snapshot.values.get(name, {}).items():
            metric.add_metric(labels, value)
        return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("reelgate")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
