"""What is counted, and how `/metrics` tells it. prometheus-client's own parsers are the oracle."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from proxy.api.exposition import render
from proxy.metrics import FAMILIES, Histogram, Metrics, Snapshot

ROOT = Path(__file__).parents[1]

Samples = dict[str, float]


def samples(text: str) -> Samples:
    """Each sample of the plain form, as `name{label="value"}` with sorted labels."""
    return dict(_samples(parser.text_string_to_metric_families(text)))


def _samples(families: Any) -> Iterator[tuple[str, float]]:
    for family in families:
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            yield sample.name + (f"{{{labels}}}" if labels else ""), sample.value


async def text_of(snapshot: Snapshot, *, open_metrics: bool = False) -> str:
    body, _ = await asyncio.to_thread(render, snapshot, open_metrics=open_metrics)
    return body.decode()


async def written(metrics: Metrics, *, open_metrics: bool = False) -> str:
    return await text_of(await metrics.snapshot(), open_metrics=open_metrics)


async def read(metrics: Metrics) -> Samples:
    return samples(await written(metrics))


def busy() -> Metrics:
    """Metrics in which every family has something."""
    metrics = Metrics()
    metrics.models = {"film"}
    metrics.request("GET", "/videos/{id}", 200, 0.004)
    metrics.submission("up", "taken", 1.5)
    metrics.polled("up", "answered", 0.0)
    metrics.ended("up", "film", "completed", None, 42.0)
    metrics.webhook("delivered")
    metrics.relayed("up", 1000)
    values: dict[str, Any] = {
        "queue_length": {("film",): 3},
        "queue_oldest_seconds": 12.5,
        "running": {("up",): 2},
        "unknown_outcomes": 1,
        "breaker_state": {("up", "closed"): 1, ("up", "open"): 0},
        "store_commits": 7,
        "store_operations": 21,
    }
    for name, value in values.items():
        metrics.follow(name, lambda value=value: value)
    return metrics


# ---------------------------------------------------------------- counting


async def test_each_thing_that_happens_is_counted_in_its_family() -> None:
    """Every method adds to its own families, with its labels in their order, and to no other."""
    found = ours(await written(busy()))
    assert {name: value for name, value in found.items() if "_bucket" not in name} == {
        'reelgate_requests_total{method="GET",route="/videos/{id}",status="200"}': 1,
        'reelgate_request_seconds_count{route="/videos/{id}"}': 1,
        'reelgate_request_seconds_sum{route="/videos/{id}"}': 0.004,
        'reelgate_submissions_total{channel="up",outcome="taken"}': 1,
        'reelgate_submission_seconds_count{channel="up"}': 1,
        'reelgate_submission_seconds_sum{channel="up"}': 1.5,
        'reelgate_polls_total{channel="up",outcome="answered"}': 1,
        'reelgate_poll_lag_seconds_count{channel="up"}': 1,
        'reelgate_poll_lag_seconds_sum{channel="up"}': 0,
        'reelgate_videos_ended_total{channel="up",code="",status="completed"}': 1,
        'reelgate_time_to_complete_seconds_count{channel="up",model="film"}': 1,
        'reelgate_time_to_complete_seconds_sum{channel="up",model="film"}': 42,
        'reelgate_webhook_deliveries_total{outcome="delivered"}': 1,
        'reelgate_relayed_bytes_total{channel="up"}': 1000,
        'reelgate_queue_length{model="film"}': 3,
        "reelgate_queue_oldest_seconds": 12.5,
        'reelgate_running{channel="up"}': 2,
        "reelgate_unknown_outcomes": 1,
        'reelgate_breaker_state{channel="up",state="closed"}': 1,
        'reelgate_breaker_state{channel="up",state="open"}': 0,
        "reelgate_store_commits_total": 7,
        "reelgate_store_operations_total": 21,
        f'reelgate_build_info{{version="{metadata.version("reelgate")}"}}': 1,
    }


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.bounds])
async def test_the_buckets_of_a_histogram_are_right(name: str) -> None:
    """A value counts in each bucket from the first whose bound is not below it; the last one has them all."""
    bounds = FAMILIES[name].bounds
    histogram = Histogram(bounds)
    for value in (*bounds, 0.0, -1.0, bounds[-1] * 2):
        histogram.observe(value)
    metrics = Metrics()
    metrics._histograms[name][("x",) * len(FAMILIES[name].labels)] = histogram
    buckets = {
        float(re.search(r'le="([^"]+)"', sample)[1]): count  # type: ignore[index]
        for sample, count in (await read(metrics)).items()
        if f"reelgate_{name}_bucket" in sample
    }
    assert buckets == {**{bound: place + 3 for place, bound in enumerate(bounds)}, math.inf: len(bounds) + 3}
    assert list(bounds) == sorted(set(bounds))
    assert histogram.total == pytest.approx(sum(bounds) + bounds[-1] * 2)


async def test_only_completed_videos_have_a_time_to_complete() -> None:
    """A failed video counts as ended, with its code, and not among the times of those that completed."""
    metrics = Metrics()
    metrics.ended("up", "film", "failed", "poll_timeout", 86_400)
    found = await read(metrics)
    assert found['reelgate_videos_ended_total{channel="up",code="poll_timeout",status="failed"}'] == 1
    assert not any("time_to_complete" in name for name in found)


async def test_words_that_clients_choose_make_no_new_series() -> None:
    """A thousand invented methods and models are one series each, `other`, and leave nothing behind."""
    metrics = Metrics()
    metrics.models = {"film"}
    metrics.follow("queue_length", lambda: {("film",): 2, ("gone",): 3, ("older",): 4})
    for number in range(1000):
        metrics.request(f"METHOD{number}", "other", 404, 0.1)
        metrics.ended("up", f"model-{number}", "completed", None, 1)
    found = await read(metrics)
    assert found['reelgate_requests_total{method="other",route="other",status="404"}'] == 1000
    assert found['reelgate_time_to_complete_seconds_count{channel="up",model="other"}'] == 1000
    assert found['reelgate_queue_length{model="film"}'] == 2
    assert found['reelgate_queue_length{model="other"}'] == 7
    assert len(metrics._requests) == len(metrics._histograms["time_to_complete_seconds"]) == 1


async def test_label_values_cannot_break_out() -> None:
    """A channel may be called anything: quotes, line breaks and backslashes come back as they were."""
    name = 'a "b"\\\n} 1\nreelgate_running 5'
    metrics = Metrics()
    metrics.relayed(name, 5)
    for text, parse in (
        (await written(metrics), parser.text_string_to_metric_families),
        (await written(metrics, open_metrics=True), openmetrics_parser.text_string_to_metric_families),
    ):
        (sample,) = [
            one for family in parse(text) for one in family.samples if one.name == "reelgate_relayed_bytes_total"
        ]
        assert sample.labels == {"channel": name}


# ---------------------------------------------------------------- what is read at each scrape


async def test_a_family_is_read_when_it_is_asked_for() -> None:
    """A reader is asked at each scrape, may be a coroutine function, and may say a number or one for each label."""
    metrics, asked = Metrics(), iter(range(10))

    async def counted() -> int:
        await asyncio.sleep(0)
        return next(asked)

    metrics.follow("unknown_outcomes", counted)
    metrics.follow("running", lambda: {("a",): 1, ("b",): 0})
    assert [(await read(metrics))["reelgate_unknown_outcomes"] for _ in range(3)] == [0, 1, 2]
    assert (await read(metrics))['reelgate_running{channel="b"}'] == 0


async def test_a_family_that_cannot_be_read_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A busy store takes one family away, with a line in the log, and the scrape has the rest."""
    metrics = busy()

    def broken() -> float:
        raise RuntimeError("the store is busy")

    metrics.follow("unknown_outcomes", broken)
    found = await read(metrics)
    assert "reelgate_unknown_outcomes" not in found
    assert found['reelgate_running{channel="up"}'] == 2
    assert "the metric unknown_outcomes cannot be read: RuntimeError: the store is busy" in caplog.text


@pytest.mark.parametrize(("name", "error"), [("running_", KeyError), ("request_seconds", ValueError)])
def test_only_gauges_and_counters_that_exist_can_be_followed(name: str, error: type[Exception]) -> None:
    """A slip in the wiring is an error at the start, not a family that stays empty."""
    with pytest.raises(error, match=name):
        Metrics().follow(name, lambda: 1)


async def test_a_snapshot_is_of_one_moment() -> None:
    """What happens while a snapshot is written out is in the next one only."""
    metrics = busy()
    snapshot = await metrics.snapshot()
    before = ours(await text_of(snapshot))
    metrics.request("GET", "/videos/{id}", 200, 0.004)
    metrics.request("PUT", "/videos", 405, 0.004)
    metrics.relayed("down", 5)
    assert ours(await text_of(snapshot)) == before
    assert len(ours(await written(metrics))) > len(before)


def ours(text: str) -> Samples:
    """The samples that are not of the process."""
    return {name: value for name, value in samples(text).items() if name.startswith("reelgate_")}


# ---------------------------------------------------------------- the forms


async def test_both_forms_have_the_same_numbers() -> None:
    """OpenMetrics' strict parser takes its form, and both forms have each family, with its type and help."""
    metrics = busy()
    plain = list(parser.text_string_to_metric_families(await written(metrics)))
    strict = list(openmetrics_parser.text_string_to_metric_families(await written(metrics, open_metrics=True)))

    assert dict(_samples(plain)).keys() == dict(_samples(strict)).keys()
    numbers = [dict(_samples(one for one in form if one.name.startswith("reelgate_"))) for form in (plain, strict)]
    assert numbers[0] == numbers[1]
    kinds = {family.name: (family.type, family.documentation) for family in strict}
    for name, family in FAMILIES.items():
        assert kinds[f"reelgate_{name}"] == (family.kind, family.help)
        # A family whose labels nothing has yet is there all the same, so that an alert on it is no typing mistake.
    assert {f"reelgate_{name}" for name in FAMILIES} <= {
        family.name for family in parser.text_string_to_metric_families(await written(Metrics()))
    }


def test_the_start_does_not_pay_for_it() -> None:
    """A server imports nothing of prometheus-client until somebody asks for /metrics."""
    code = (
        "import sys, proxy.serve; assert 'prometheus_client' not in sys.modules; assert 'proxy.metrics' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_metric_is_explained() -> None:
    """docs/metrics.md has a row for each metric with its labels, and no other."""
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = {
        name: tuple(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(\w+)` \|([^|]*)\|", page, re.MULTILINE)
    }
    known = {name + ("_total" if family.kind == "counter" else ""): family.labels for name, family in FAMILIES.items()}
    assert rows == {**known, "build_info": ("version",)}
    assert set(re.findall(r"reelgate_(\w+?)(?:_bucket)?\b[ {\[]", page)) <= set(rows)
