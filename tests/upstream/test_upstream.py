"""A call goes where it should, once, and one submission of several calls is not paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy.errors import (
    Outcome,
    UpstreamError,
    UpstreamRefused,
)
from proxy.inputs import Clip, Picture
from proxy.models import Source
from proxy.upstream import BadTarget, Upstream, submission
from proxy.upstream.http import Http
from tests.upstream.conftest import (
    KEY,
    Site,
    Sites,
    Wires,
    answering,
    channel,
    failure,
    open_files,
)

# ---------------------------------------------------------------- where a call goes


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("http://h", "/v1/videos", "http://h/v1/videos"),
        ("http://h/", "v1/videos", "http://h/v1/videos"),
        ("http://h/v1", "/v1/videos", "http://h/v1/videos"),
        ("http://h/v1/", "/v1/videos/", "http://h/v1/videos/"),
        ("http://h/openai/v1", "/v1/videos", "http://h/openai/v1/videos"),
        ("http://h/v1beta", "/v1beta/models/x:predictLongRunning", "http://h/v1beta/models/x:predictLongRunning"),
        ("http://h/v2alpha1", "/v2alpha1/x", "http://h/v2alpha1/x"),
        ("http://h/v1", "/v1", "http://h/v1"),
        ("http://h/v1", "/v2/x", "http://h/v1/v2/x"),
        ("http://h/v1", "/v1beta/x", "http://h/v1/v1beta/x"),
        ("http://h/videos", "/videos/x", "http://h/videos/videos/x"),
        ("http://h/v1x", "/v1x/x", "http://h/v1x/v1x/x"),
        ("http://h/api/v3", "/api/v3/tasks", "http://h/api/v3/tasks"),
        ("http://h/api/v3", "/v3/tasks", "http://h/api/v3/tasks"),
        ("http://h/v1", "/v1/x?u=/v1/y", "http://h/v1/x?u=/v1/y"),
        ("http://h:8000/v1", "http://H:8000/else?x=1", "http://H:8000/else?x=1"),
        ("https://h", "https://h:443/x", "https://h:443/x"),
        ("http://h", "/v1/videos/a%2Fb", "http://h/v1/videos/a%2Fb"),
        ("http://h/v1", "//evil.example/x", "http://h/v1/evil.example/x"),
    ],
)
def test_url(base: str, path: str, url: str) -> None:
    """A version at the seam is taken once, slashes do not matter, and an address of the own origin passes."""
    assert Upstream(Http(), name="x", base_url=base).url(path) == url


@pytest.mark.parametrize(
    "path",
    [
        "http://evil.example/x",
        "https://h/x",
        "http://h:81/x",
        "http://h@evil.example/x",
        "http://h.evil.example/x",
        "HTTP://evil.example",
        "file:///etc/passwd",
        "/v1/videos/../account",
        "/v1/videos/%2e%2e/account",
        "/v1/videos/x%2f..%2faccount",
        "/v1/videos/..\\account",
        "/v1/videos/x#y",
        "/v1/x\r\nHost: evil",
    ],
)
def test_url_refuses(path: str) -> None:
    """Another origin, a way upwards and control characters are refused, as a ValueError and as an answerable error."""
    with pytest.raises(ValueError) as caught:
        Upstream(Http(), name="x", base_url="http://h").url(path)
    assert isinstance(caught.value, BadTarget)
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "base",
    ["http://h?x=1", "http://h/#x", "http://h/?", "ftp://h", "h/v1", "http://u:hunter2@h", "http://", "http://h h"],
)
def test_base_url_is_checked(base: str) -> None:
    """A base URL that cannot be used is refused at once, and a password in it is not repeated."""
    with pytest.raises(ValueError, match="base_url") as caught:
        Upstream(Http(), name="x", base_url=base)
    assert "hunter2" not in str(caught.value)


def test_no_base_url() -> None:
    """A channel without an upstream can be made, and a call of it says what is missing."""
    upstream = Upstream(Http(), name="x", base_url="")
    with pytest.raises(BadTarget, match="base_url"):
        upstream.url("/v1/x")


async def test_methods(http: Http, sites: Sites) -> None:
    """Each method sends its own verb, parameters, body and headers, and the reply has status, headers and data."""
    site = await sites(answering(200, {"id": "job"}, {"X-Some": "Thing"}))
    upstream = channel(http, site.url + "/v1")
    reply = await upstream.get("/v1/jobs", params={"a": "b c"}, headers={"X-Extra": "1"})
    assert (reply.status, reply.data, reply.headers["x-some"]) == (200, {"id": "job"}, "Thing")
    await upstream.post("/v1/jobs", json={"prompt": "é"})
    await upstream.post("/v1/files", json=[1], paid=False)
    await upstream.put("/v1/jobs/1", json={})
    await upstream.delete("/v1/jobs/1")
    assert [(r.method, r.path_qs) for r in site.requests] == [
        ("GET", "/v1/jobs?a=b+c"),
        ("POST", "/v1/jobs"),
        ("POST", "/v1/files"),
        ("PUT", "/v1/jobs/1"),
        ("DELETE", "/v1/jobs/1"),
    ]
    assert [r.headers.get("Content-Type") for r in site.requests] == [
        None,
        "application/json",
        "application/json",
        "application/json",
        None,
    ]
    assert {r.headers["Authorization"] for r in site.requests} == {f"Bearer {KEY}"}
    assert {r.headers["User-Agent"] for r in site.requests} == {"reelgate"}
    assert site.requests[0].headers["X-Extra"] == "1"
    assert await site.requests[1].read() == b'{"prompt":"\xc3\xa9"}'


async def test_form(http: Http, sites: Sites, tmp_path: Path) -> None:
    """A form carries text, pictures and clips with their names, types and bytes, and says its length."""
    parts: list[tuple[str | None, str | None, str | None, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.content_length is not None
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            media_type = part.headers.get("Content-Type")
            parts.append((part.name, part.filename, media_type, bytes(await part.read())))
        return web.json_response({"id": "x"})

    site = await sites(answer)
    data = os.urandom(3 * 2**20 + 17)
    path = tmp_path / "in.mp4"
    path.write_bytes(data)
    picture = Picture(data=b"\x89PNG" * 400_000, media_type="image/png", width=1, height=1)
    await channel(http, site.url).post(
        "/v1/videos",
        form=[("prompt", "ü\r\n--x"), ("tag", "1"), ("tag", "2"), ("image", picture), ("video", Clip(path))],
        headers={"Content-Type": "application/json"},
    )
    assert [(name, filename) for name, filename, _, _ in parts] == [
        ("prompt", None),
        ("tag", None),
        ("tag", None),
        ("image", "image.png"),
        ("video", "video.mp4"),
    ]
    assert parts[0][3].decode() == "ü\r\n--x"
    assert (parts[3][2], parts[4][2]) == ("image/png", "video/mp4")
    assert parts[3][3] == picture.data
    assert hashlib.sha256(parts[4][3]).digest() == hashlib.sha256(data).digest()
    assert str(path) not in await asyncio.to_thread(open_files)


async def test_a_form_of_text_is_multipart(http: Http, sites: Sites) -> None:
    """A form is multipart also when it holds no file, and a mapping will do."""
    site = await sites(answering(200, {}))
    await channel(http, site.url).post("/v1/videos", form={"prompt": "x"})
    assert site.requests[0].content_type == "multipart/form-data"


async def test_a_form_of_something_else_says_which_field(http: Http, sites: Sites) -> None:
    """A value that is no text, picture or clip is an error that names the field, and nothing is sent."""
    site = await sites(answering(200, {}))
    with pytest.raises(TypeError, match=r"the field 'image' of a form .* not tuple"):
        await channel(http, site.url).post("/v1/videos", form={"image": ("a.png", b"")})  # type: ignore[dict-item]
    assert site.requests == []


async def test_large_json(http: Http, sites: Sites) -> None:
    """A body of several megabytes is sent whole."""
    site = await sites(answering(200, {}))
    await channel(http, site.url).post("/v1/videos", json={"image": "x" * 5 * 2**20})
    assert len(await site.requests[0].read()) == 5 * 2**20 + 12


# ---------------------------------------------------------------- once, and only there


async def test_paid_posts_use_fresh_connections(http: Http, wires: Wires) -> None:
    """A paid POST never reuses a connection, neither of another paid POST nor of a poll; polls do."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    wire = await wires(answer)
    upstream = channel(http, wire.url)
    for _ in range(3):
        await upstream.get("/v1/x")
    assert wire.connections == 1
    for _ in range(3):
        await upstream.post("/v1/x", json={})
    assert wire.connections == 4
    await upstream.get("/v1/x")
    assert wire.connections == 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("paid", [True, False])
async def test_redirects_are_not_followed(http: Http, sites: Sites, status: int, paid: bool) -> None:
    """A redirect of an API call is an error: the body is sent once and the key goes nowhere else."""
    other = await sites(answering(200, {"id": "x"}))
    site = await sites(answering(status, {}, {"Location": other.url + "/v1/videos"}))
    error = await failure(channel(http, site.url).post("/v1/videos", json={"a": 1}, paid=paid))
    assert type(error) is UpstreamError
    assert error.outcome is (Outcome.UNKNOWN if paid else Outcome.REFUSED)
    assert (len(site.requests), len(other.requests)) == (1, 0)
    await failure(channel(http, site.url).get("/v1/videos/x"))
    assert (len(site.requests), len(other.requests)) == (2, 0)


async def test_a_dropped_paid_post_is_not_repeated(http: Http, wires: Wires) -> None:
    """When the upstream closes without a word, the POST went out exactly once; aiohttp repeats only a GET."""

    async def close(writer: asyncio.StreamWriter) -> None:
        writer.close()

    wire = await wires(close)
    upstream = channel(http, wire.url)
    assert (await failure(upstream.post("/v1/x", json={}))).outcome is Outcome.UNKNOWN
    assert len(wire.received) == 1
    assert (await failure(upstream.post("/v1/x", json={}, paid=False))).outcome is Outcome.REFUSED
    assert len(wire.received) == 2


async def test_the_key_stays_on_its_origin(http: Http, sites: Sites) -> None:
    """A call of a foreign address never starts; contents are fetched with the headers of their Source only."""
    other = await sites(answering(200, text="bytes"))
    own = await sites(answering(302, text="", headers={"Location": other.url + "/file?sig=1"}))
    upstream = channel(http, own.url, allow_hosts=["127.0.0.1"])
    with pytest.raises(BadTarget):
        await upstream.get(other.url + "/status")
    assert other.requests == []
    async with upstream.open(Source(url=other.url + "/plain")) as response:
        assert await response.text() == "bytes"
    headers = {"Authorization": f"Bearer {KEY}", "X-Key": KEY}
    async with upstream.open(Source(url=own.url + "/content", headers=headers), range="bytes=1-2") as response:
        assert await response.text() == "bytes"
    assert own.requests[-1].headers["X-Key"] == KEY
    assert own.requests[-1].headers["Range"] == other.requests[-1].headers["Range"] == "bytes=1-2"
    assert not any(KEY in str(list(request.headers.items())) for request in other.requests)


async def test_cookies_are_not_kept(http: Http, sites: Sites) -> None:
    """What one upstream sets as a cookie is never sent."""
    site = await sites(answering(200, {}, {"Set-Cookie": "a=b; Path=/"}))
    upstream = channel(http, site.url)
    await upstream.get("/v1/x")
    await upstream.get("/v1/x")
    assert "Cookie" not in site.requests[1].headers


async def test_a_broken_key_is_not_sent(http: Http, sites: Sites) -> None:
    """A line break in a credential is a misconfiguration: nothing is sent, and another channel may be tried."""
    site = await sites(answering(200, {}))
    upstream = channel(http, site.url)
    upstream.headers = lambda: {"Authorization": f"Bearer {KEY}\nX-Evil: 1"}
    error = await failure(upstream.post("/v1/x", json={}))
    assert isinstance(error, UpstreamRefused)
    assert error.outcome is Outcome.REFUSED
    assert KEY not in str(error)
    assert site.requests == []


# ---------------------------------------------------------------- one submission, several calls


async def scripted(sites: Sites, *statuses: int) -> Site:
    left = list(statuses)

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"id": "x"}, status=left.pop(0))

    return await sites(answer)


async def test_after_a_paid_call_nothing_is_a_refusal(http: Http, sites: Sites) -> None:
    """A refusal of a later call does not undo the paid one before it: the outcome is unknown, the SDK told to stop."""
    upstream = channel(http, (await scripted(sites, 200, 429, 401, 400, 500)).url)
    with submission() as sent:
        await upstream.post("/v1/videos", json={})
        assert sent.taken
        for _ in range(4):
            error = await failure(upstream.get("/v1/videos/x"))
            assert error.outcome is Outcome.UNKNOWN
            assert error.should_retry is False
        assert (await failure(upstream.get("http://evil.example/"))).outcome is Outcome.UNKNOWN
        assert sent.taken


async def test_a_step_before_the_paid_call_is_a_refusal(http: Http, sites: Sites) -> None:
    """What fails before the paid call, or is refused by it, was not taken."""
    site = await scripted(sites, 500, 200, 400, 429, 500)
    upstream = channel(http, site.url)
    with submission() as sent:
        assert (await failure(upstream.post("/v1/files", json={}, paid=False))).outcome is Outcome.REFUSED
        await upstream.post("/v1/files", json={}, paid=False)
        assert (await failure(upstream.get("http://evil.example/"))).outcome is Outcome.REFUSED
        assert (await failure(upstream.post("/v1/videos", json={}))).outcome is Outcome.CLIENT
        assert (await failure(upstream.post("/v1/videos", json={}))).outcome is Outcome.REFUSED
        assert not sent.taken
        assert (await failure(upstream.post("/v1/videos", json={}))).outcome is Outcome.UNKNOWN
        assert sent.taken
    with submission() as again:
        assert not again.taken


async def test_submissions_do_not_mix(http: Http, sites: Sites) -> None:
    """Two submissions at the same time keep their own account."""
    paid = await sites(answering(200, {}))
    refusing = await sites(answering(500, {}))

    async def one(url: str, path: str, is_paid: bool) -> bool:
        with submission() as sent:
            call = channel(http, url).post(path, json={}, paid=is_paid)
            if is_paid:
                await call
            else:
                assert (await failure(call)).outcome is Outcome.REFUSED
            await asyncio.sleep(0)
            return sent.taken

    assert await asyncio.gather(one(paid.url, "/a", True), one(refusing.url, "/b", False)) == [True, False]
