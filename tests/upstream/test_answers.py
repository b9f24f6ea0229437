"""An answer means what CONTRACT 3 says, in the provider's own words without its secrets."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    ModerationBlocked,
    Outcome,
    Throttled,
    UpstreamError,
    UpstreamGone,
    UpstreamTimeout,
)
from proxy.reply import Reply
from proxy.upstream.answers import LARGEST_BODY, LONGEST_WAIT, decode, retry_after
from proxy.upstream.http import Http
from proxy.upstream.redact import Redactor
from tests.upstream.conftest import (
    KEY,
    QUICK,
    Sites,
    Wires,
    answering,
    channel,
    close,
    cut,
    failure,
    garbage,
    hang,
)

# ---------------------------------------------------------------- what an answer means


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (400, InvalidRequest, Outcome.CLIENT),
        (413, InvalidRequest, Outcome.CLIENT),
        (415, InvalidRequest, Outcome.CLIENT),
        (422, InvalidRequest, Outcome.CLIENT),
        (451, InvalidRequest, Outcome.CLIENT),
        (401, AccountRefused, Outcome.REFUSED),
        (402, AccountRefused, Outcome.REFUSED),
        (403, AccountRefused, Outcome.REFUSED),
        (404, UpstreamGone, Outcome.REFUSED),
        (405, UpstreamGone, Outcome.REFUSED),
        (410, UpstreamGone, None),
        (429, Throttled, Outcome.REFUSED),
        (300, UpstreamError, None),
        (304, UpstreamError, None),
        (406, UpstreamError, None),
        (408, UpstreamTimeout, None),
        (409, UpstreamError, None),
        (418, UpstreamError, None),
        (425, UpstreamError, None),
        (500, UpstreamError, None),
        (502, UpstreamError, None),
        (503, UpstreamError, None),
        (504, UpstreamTimeout, None),
        (529, UpstreamError, None),
        (599, UpstreamError, None),
    ],
)
async def test_status_table(
    http: Http, sites: Sites, status: int, kind: type[ApiError], outcome: Outcome | None
) -> None:
    """Each status means what CONTRACT 3 says; what is unknown for a paid POST is a refusal where nothing is paid."""
    site = await sites(answering(status, text="" if status == 304 else "<html>oops</html>"))
    upstream = channel(http, site.url)
    calls = {
        Outcome.UNKNOWN: [upstream.post("/v1/videos", json={})],
        Outcome.REFUSED: [
            upstream.post("/v1/files", json={}, paid=False),
            upstream.get("/v1/videos/x"),
            upstream.put("/v1/videos/x", json={}),
            upstream.delete("/v1/videos/x"),
        ],
    }
    for unsure, group in calls.items():
        for call in group:
            error = await failure(call)
            assert type(error) is kind
            assert error.outcome is (outcome or unsure)
            assert "html" not in str(error)
            assert "lumen-eu" not in str(error)
    assert len(site.requests) == 5


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": {"message": "Bad size.", "param": "size"}}, "Bad size."),
        ({"message": "Bad size."}, "Bad size."),
        ({"detail": "Bad size."}, "Bad size."),
        ({"detail": [{"msg": "Bad size.", "loc": ["size"]}]}, "Bad size."),
        ({"error": "Bad size."}, "Bad size."),
        ({"msg": "Bad size.", "code": 1201}, "Bad size."),
        ({"errors": [{"message": "Bad size."}]}, "Bad size."),
        ({"error": {"message": f"Key {KEY} has bad size."}}, "Key [secret] has bad size."),
        ({"error": {"message": "See https://provider.example/x?k=1 now."}}, "See [url] now."),
        ({"error": {"message": "job-77 \r\n\x00is bad"}}, "[id] is bad"),
        ({"error": {"message": 5}, "message": None, "detail": {}}, "without saying why (HTTP 400)."),
        ([], "without saying why (HTTP 400)."),
        ("Bad size.", "without saying why (HTTP 400)."),
        (None, "without saying why (HTTP 400)."),
    ],
)
async def test_the_providers_sentence(http: Http, sites: Sites, body: Any, sentence: str) -> None:
    """A refusal carries the provider's words, wherever it puts them, without key, address and id."""
    site = await sites(answering(400, body))
    upstream = channel(http, site.url, redactor=Redactor([KEY]))
    error = await failure(upstream.post("/v1/videos/job-77/remix", json={}))
    assert str(error) == error.message
    assert error.message.endswith(sentence)
    assert error.param == ("size" if "param" in str(body) else None)


async def test_credentials_are_redacted_unasked(http: Http, sites: Sites) -> None:
    """An upstream that repeats our key does not show it, also where the redactor does not know it."""
    site = await sites(answering(400, {"message": f"{KEY} is no key for {{size}}"}))
    error = await failure(channel(http, site.url).post("/v1/x", json={}))
    assert KEY not in error.message
    assert error.message.endswith("is no key for {size}")


async def test_account_troubles_stay_inside(http: Http, sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    """What a provider says of the operator's account is logged with the channel's name and not told to the client."""
    site = await sites(answering(402, {"message": "Your balance is $0.12"}))
    with caplog.at_level(logging.WARNING, logger="reelgate.upstream"):
        error = await failure(channel(http, site.url).post("/v1/x", json={}))
    assert "balance is" not in error.message
    assert error.status == 502
    assert error.should_retry is False
    assert "lumen-eu" in caplog.text
    assert "Your balance is $0.12" in caplog.text


@pytest.mark.parametrize("param", ["metadata.a[0].b", 5, "x y", "https://x.example", "p" * 80, None])
async def test_param_passes_when_it_is_a_name(http: Http, sites: Sites, param: Any) -> None:
    """`param` of an upstream's envelope passes only as the name of a field."""
    site = await sites(answering(400, {"error": {"message": "no", "param": param}}))
    error = await failure(channel(http, site.url).post("/v1/x", json={}))
    assert error.param == (param if param == "metadata.a[0].b" else None)


async def test_throttled_waits(http: Http, sites: Sites) -> None:
    """A 429 carries the wait that the upstream asks for."""
    site = await sites(answering(429, {}, {"Retry-After": "7"}))
    error = await failure(channel(http, site.url).post("/v1/x", json={}))
    assert error.retry_after == 7.0
    assert error.should_retry is None


NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "inf"}, LONGEST_WAIT),
        ({"retry-after": "999999999"}, LONGEST_WAIT),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True), "date": "DATE"}, 90.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True), "date": "DATE"}, 0.0),
        ({"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 01 Jan 9999 00:00:00 GMT"}, LONGEST_WAIT),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds, seconds and dates are read, bounded to a day, and nonsense is no wait."""
    shown = {name: format_datetime(NOW, usegmt=True) if value == "DATE" else value for name, value in headers.items()}
    assert retry_after(shown) == seconds


@given(st.text(max_size=40), st.text(max_size=40))
@settings(deadline=None, max_examples=200)
def test_retry_after_never_breaks(seconds: str, milliseconds: str) -> None:
    """Any header is a wait of 0 to a day, or none."""
    wait = retry_after({"retry-after": seconds, "retry-after-ms": milliseconds, "date": milliseconds})
    assert wait is None or 0 <= wait <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("said", "waits"), [(3.5, 3.5), (1e9, LONGEST_WAIT), (-1.0, 0.0), (math.nan, 7.0), (None, 7.0)]
)
def test_what_a_plugin_read_has_bounds_too(said: float | None, waits: float) -> None:
    """No word of an upstream closes a channel for longer than a day, wherever it stands in the answer."""
    assert retry_after({"retry-after": "7"}, said=said) == waits


async def test_the_plugin_has_the_first_word(http: Http, sites: Sites) -> None:
    """`refusal` is asked for each answer, a 200 too, before the table; its words are redacted like the provider's."""
    asked: list[tuple[int, Any]] = []

    def refusal(status: int, reply: Reply) -> ApiError | None:
        asked.append((status, reply.data))
        if reply.get("code") == 7:
            return ModerationBlocked(f"no: {reply.get('why')}")
        if reply.get("code") == 8:
            raise Throttled("later", retry_after=3)
        return None

    answers = iter(
        [
            (200, {"code": 7, "why": f"{KEY} at https://x.example/y"}),
            (200, {"code": 8}),
            (500, {"code": 7, "why": "x"}),
            (400, {"code": 0}),
            (200, {"code": 0}),
        ]
    )

    async def answer(_: web.Request) -> web.Response:
        status, body = next(answers)
        return web.json_response(body, status=status)

    upstream = channel(http, (await sites(answer)).url)
    upstream.refusal = refusal
    errors = [await failure(upstream.post("/v1/x", json={})) for _ in range(4)]
    assert [type(error) for error in errors] == [ModerationBlocked, Throttled, ModerationBlocked, InvalidRequest]
    assert errors[0].message == str(errors[0]) == "no: [id] at [url]"
    assert (await upstream.post("/v1/x", json={})).data == {"code": 0}
    assert [status for status, _ in asked] == [200, 200, 500, 400, 200]


async def test_a_broken_refusal_leaves_the_table(http: Http, sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    """A plugin whose `refusal` raises nonsense is logged, and the status decides."""
    upstream = channel(http, (await sites(answering(403, {}))).url)

    def refusal(status: int, reply: Reply) -> ApiError | None:
        raise KeyError(KEY)

    upstream.refusal = refusal
    assert isinstance(await failure(upstream.post("/v1/x", json={})), AccountRefused)
    assert "refusal() of its plugin failed" in caplog.text
    assert KEY not in caplog.text


# ---------------------------------------------------------------- bodies


def test_decode() -> None:
    """Numbers stay exact, and a body that is no JSON keeps its beginning."""
    reply = decode(
        b'\xef\xbb\xbf{"id": 9007199254740993, "big": 831922345719271433000, "f": 0.5}', status=200, headers={}
    )
    assert reply.data == {"id": 9007199254740993, "big": 831922345719271433000, "f": 0.5}
    assert reply.text == ""
    for body in (b"", b"<html>", b'{"id": ', b"NaN", b"[" * 100_000, b'"\xff"', b"x" * 5000, "ü".encode() * 3000):
        reply = decode(body, status=200, headers={})
        assert reply.data is None
        assert reply.text == body.decode("utf-8", "replace")[:2000]


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_decode_never_breaks(body: bytes) -> None:
    """Any bytes make a reply."""
    assert decode(body, status=200, headers={}).status == 200


@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_large_answers_are_refused(http: Http, sites: Sites, how: str) -> None:
    """An answer beyond the cap, announced, unannounced or compressed, is an error and not kept in memory."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if how == "length":
            return web.Response(body=b" " * (LARGEST_BODY + 1))
        if how == "gzip":
            body = await asyncio.to_thread(gzip.compress, b" " * (LARGEST_BODY + 1))
            assert len(body) < 100_000
            return web.Response(body=body, headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 2**20)
        except ConnectionError:
            return response

    upstream = channel(http, (await sites(answer)).url)
    assert (await failure(upstream.post("/v1/x", json={}))).outcome is Outcome.UNKNOWN
    assert (await failure(upstream.get("/v1/x"))).outcome is Outcome.REFUSED


# ---------------------------------------------------------------- the log


async def test_the_log_has_no_secrets(http: Http, sites: Sites, wires: Wires, caplog: pytest.LogCaptureFixture) -> None:
    """Failures are logged with the channel's name, and never with the key, the job's id or an address."""
    caplog.set_level(logging.DEBUG, logger="reelgate.upstream")
    body = {"error": {"message": f"job vid-4711 of {KEY} at https://provider.example/x"}}
    for status in (400, 401, 404, 429, 500):
        await failure(channel(http, (await sites(answering(status, body))).url).get("/v1/videos/vid-4711"))
    for script in (hang, close, garbage, cut):
        wire = await wires(script)
        await failure(channel(http, wire.url, timeout=QUICK).post("/v1/videos/vid-4711/remix", json={}))
    await failure(channel(http, f"http://127.0.0.1:{unused_port()}").post("/v1/videos/vid-4711/remix", json={}))
    records = [record for record in caplog.records if record.name == "reelgate.upstream"]
    assert len(records) == 10
    assert all("lumen-eu" in record.getMessage() for record in records)
    assert not any(word in caplog.text for word in (KEY, "vid-4711", "provider.example"))
    assert [record.levelname for record in records[:5]] == ["INFO", "WARNING", "WARNING", "INFO", "WARNING"]
