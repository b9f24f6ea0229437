"""A file goes to the address that an upstream gave for it, whole and once, and says nothing that is a secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from proxy.errors import ApiError, Outcome, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from proxy.inputs import Clip
from proxy.upstream import Upstream, submission
from proxy.upstream.http import Http
from tests.upstream.canary import Canary, canary
from tests.upstream.conftest import (
    KEY,
    QUICK,
    Handler,
    Sites,
    Wires,
    answering,
    channel,
    close,
    failure,
    garbage,
    hang,
    open_files,
)
from tests.upstream.test_doors import let_through

FILM = bytes(range(256)) * 1024
"""More than what the system's buffers of one write hold."""
PATH = "/bucket/secret-path?X-Signature=zzz"
FIELDS = {"key": "uploads/1", "Policy": "cG9saWN5", "x-amz-meta-name": 'a "b" ü'}
WAYS: list[dict[str, str] | None] = [None, FIELDS]
"""As a plain PUT and as a form."""

ways = pytest.mark.parametrize("fields", WAYS, ids=["put", "form"])


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    (tmp_path / "film.mp4").write_bytes(FILM)
    return Clip(tmp_path / "film.mp4", "video/mp4", "kite.mp4")


@pytest.fixture
async def bird(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Canary]:
    async with canary(monkeypatch) as bird:
        yield bird


def keyed(http: Http, url: str = "https://api.example", **options: Any) -> Upstream:
    """A channel whose key is in every header that it may be in."""
    upstream = channel(http, url, **options)
    upstream.headers = lambda: {"Authorization": f"Bearer {KEY}", "X-Api-Key": KEY, "Cookie": KEY}
    return upstream


def keeping(bodies: list[bytes], status: int = 204) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(status=status)

    return answer


def holding(parts: list[tuple[str | None, str | None, str | None, bytes]]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            data = bytes(await part.read())
            parts.append((part.name, part.filename, part.headers.get("Content-Type"), data))
        return web.Response(status=201)

    return answer


async def test_a_put_is_the_file_and_nothing_else(http: Http, sites: Sites, clip: Clip) -> None:
    """Without fields the file is the body of one PUT, of a known length and under its own type."""
    bodies: list[bytes] = []
    store = await sites(keeping(bodies, 200))
    await keyed(http, allow_hosts=["127.0.0.1"]).upload(clip, store.url + PATH)
    (request,) = store.requests
    assert (request.method, request.path_qs) == ("PUT", PATH)
    assert (request.content_type, request.content_length) == ("video/mp4", len(FILM))
    assert bodies == [FILM]


async def test_a_form_has_its_fields_first(http: Http, sites: Sites, clip: Clip) -> None:
    """With fields it is a multipart POST of a known length: the fields in their order, then the part `file`."""
    parts: list[tuple[str | None, str | None, str | None, bytes]] = []
    store = await sites(holding(parts))
    await keyed(http, allow_hosts=["127.0.0.1"]).upload(clip, store.url + PATH, fields=FIELDS)
    (request,) = store.requests
    assert (request.method, request.path_qs, request.content_type) == ("POST", PATH, "multipart/form-data")
    assert request.content_length
    assert [(name, data.decode()) for name, _, _, data in parts[:-1]] == list(FIELDS.items())
    assert parts[-1] == ("file", "kite.mp4", "video/mp4", FILM)
    parts.clear()
    await keyed(http, allow_hosts=["127.0.0.1"]).upload(clip, store.url, fields={})
    assert [name for name, *_ in parts] == ["file"]


@ways
async def test_no_credentials_go_along(http: Http, sites: Sites, clip: Clip, fields: dict[str, str] | None) -> None:
    """Neither another host, nor the channel's own origin, nor one that it trusts hears the channel's key."""
    store = await sites(keeping([]))
    for upstream in (keyed(http, allow_hosts=["127.0.0.1"]), keyed(http, store.url), trusting(http, store.url)):
        await upstream.upload(clip, store.url + PATH, fields=fields)
        assert KEY not in str(store.requests[-1].headers)
        assert not {"Authorization", "Cookie", "X-Api-Key"} & store.requests[-1].headers.keys()
    assert len(store.requests) == 3


def trusting(http: Http, url: str) -> Upstream:
    upstream = keyed(http)
    upstream.trust(url)
    return upstream


# ---------------------------------------------------------------- where it may go


@ways
async def test_no_hostile_address_is_dialled(
    http: Http, bird: Canary, clip: Clip, fields: dict[str, str] | None
) -> None:
    """For every address of the corpus (private, loopback, metadata services, odd spellings) nothing is dialled."""
    upstream = keyed(http)

    async def attempt(url: str) -> object:
        try:
            await upstream.upload(clip, url, fields=fields)
        except UpstreamError as error:
            named = "127.0.0.1" in error.message or "169.254" in error.message
            return error.message if named or error.outcome is not Outcome.REFUSED else None
        return "taken"

    assert await let_through(bird, attempt) == {}
    assert (bird.dialled, bird.connections) == ([], 0)


async def test_private_hosts_need_permission(
    http: Http, sites: Sites, clip: Clip, caplog: pytest.LogCaptureFixture
) -> None:
    """A store on a private host hears nothing without an allow_hosts entry; the log names the host and not the path."""
    store = await sites(keeping([]))
    for allow in ((), ("127.0.0.1:1",), ("localhost",)):
        error = await failure(keyed(http, allow_hosts=allow).upload(clip, store.url + PATH))
        assert type(error) is UpstreamError
        assert "127.0.0.1" not in error.message
    assert store.requests == []
    assert "add it to allow_hosts" in caplog.text
    assert "127.0.0.1" in caplog.text
    assert "secret-path" not in caplog.text


@ways
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    http: Http, sites: Sites, clip: Clip, status: int, fields: dict[str, str] | None
) -> None:
    """A redirect is an answer like any other: the file does not go on, not even to a permitted host."""
    end = await sites(keeping([]))
    store = await sites(answering(status, {}, headers={"Location": end.url + PATH}))
    error = await failure(keyed(http, allow_hosts=["127.0.0.1"]).upload(clip, store.url + PATH, fields=fields))
    assert (type(error), error.outcome) == (UpstreamError, Outcome.REFUSED)
    assert (len(store.requests), end.requests) == (1, [])


# ---------------------------------------------------------------- what came of it


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 503, 504])
async def test_what_is_not_taken(
    http: Http, sites: Sites, clip: Clip, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Any answer but a 2xx is the upstream's fault, told without its words or its address, and asked once."""
    page = f"<Error><Code>AccessDenied</Code><Key>{KEY}</Key></Error>"
    store = await sites(answering(status, text=page))
    error = await failure(keyed(http, allow_hosts=["127.0.0.1"]).upload(clip, store.url + PATH))
    assert (type(error), error.status, error.should_retry) == (UpstreamError, 502, False)
    assert error.message == "The upstream did not take an uploaded file."
    assert len(store.requests) == 1
    assert f"HTTP {status}" in caplog.text
    assert "secret-path" not in caplog.text + error.message
    assert KEY not in caplog.text + error.message


@pytest.mark.parametrize("fields", [{"a\r\nX-Evil: 1": "b"}, {"a": 5}])
async def test_a_form_that_cannot_be_sent(http: Http, sites: Sites, clip: Clip, fields: Any) -> None:
    """Fields are the upstream's too: those that no form can have are its fault, and nothing was ordered."""
    store = await sites(answering(204))
    with submission():
        error = await failure(keyed(http, allow_hosts=["127.0.0.1"]).upload(clip, store.url + PATH, fields=fields))
    assert (type(error), error.outcome) == (UpstreamError, Outcome.REFUSED)
    assert store.requests == []


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@ways
@pytest.mark.parametrize(("script", "kind"), [(close, None), (reset, None), (garbage, None), (hang, UpstreamTimeout)])
async def test_a_broken_connection(
    http: Http,
    wires: Wires,
    clip: Clip,
    script: Callable[[asyncio.StreamWriter], Awaitable[None]],
    kind: type[ApiError] | None,
    fields: dict[str, str] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A connection that breaks, nonsense and silence are the upstream's fault, and no file stays open."""
    wire = await wires(script)
    upstream = keyed(http, allow_hosts=["127.0.0.1"], timeout=QUICK)
    error = await failure(upstream.upload(clip, wire.url + PATH, fields=fields))
    assert (type(error), error.outcome) == (kind or UpstreamError, Outcome.REFUSED)
    # aiohttp sends a PUT once more where a connection was closed at once: see below.
    assert len(wire.received) <= 2
    assert "an upload failed" in caplog.text
    assert "secret-path" not in caplog.text
    assert str(clip.path) not in await asyncio.to_thread(open_files)


async def test_a_put_that_is_sent_again_is_whole(http: Http, wires: Wires, clip: Clip) -> None:
    """Where a connection was closed before the answer, what goes over the next one is the whole file again."""

    async def second_time(writer: asyncio.StreamWriter) -> None:
        if wire.connections > 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    wire = await wires(second_time)
    await keyed(http, allow_hosts=["127.0.0.1"]).upload(clip, wire.url + PATH)
    assert [body.partition(b"\r\n\r\n")[2] for body in wire.received] == [FILM, FILM]


async def test_a_store_that_cannot_be_reached(http: Http, clip: Clip) -> None:
    """A refused connection is one that nothing was sent over."""
    upstream = keyed(http, allow_hosts=["127.0.0.1"])
    error = await failure(upstream.upload(clip, f"http://127.0.0.1:{unused_port()}{PATH}"))
    assert type(error) is UpstreamUnreachable


# ---------------------------------------------------------------- within a submission


@ways
async def test_nothing_has_been_ordered_yet(
    http: Http, sites: Sites, wires: Wires, clip: Clip, fields: dict[str, str] | None
) -> None:
    """Whatever becomes of the upload before the paid call, the submission was refused, and another may follow."""
    taking, refusing, closing = await sites(keeping([])), await sites(answering(503, {})), await wires(close)
    silent = await wires(hang)
    upstream = keyed(http, allow_hosts=["127.0.0.1"], timeout=QUICK)
    with submission() as sent:
        for url in (
            *(refusing.url, closing.url, silent.url, f"http://127.0.0.1:{unused_port()}"),
            *("http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "bucket", ""),
        ):
            assert (await failure(upstream.upload(clip, url, fields=fields))).outcome is Outcome.REFUSED, url
        await upstream.upload(clip, taking.url, fields=fields)
        assert not sent.taken


async def test_after_a_paid_call_it_is_unknown(http: Http, sites: Sites, clip: Clip) -> None:
    """An upload that fails when something has been ordered leaves the outcome unknown, and nobody tries again."""
    own = await sites(answering(200, {}))
    upstream = keyed(http, own.url)
    with submission() as sent:
        await upstream.post("/v1/videos", json={})
        error = await failure(upstream.upload(clip, "http://10.0.0.1/bucket"))
        assert (error.outcome, error.should_retry, sent.taken) == (Outcome.UNKNOWN, False, True)
