"""What happens around the routes: ids of requests, unknown URLs, credentials, refused bodies, the access log."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientPayloadError, FormData, web
from aiohttp.test_utils import TestServer

from proxy.api import middleware, refusals
from proxy.api.context import API
from proxy.config import Server
from tests.api.conftest import Launch, Surface

PUBLIC = {"/healthz", "/readyz", "/openapi.json"}
BIG = 3 * 2**20


async def raw(surface: Surface, *pieces: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", surface.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


async def test_every_route_but_the_probes_wants_a_key(surface: Surface) -> None:
    """Walking the router: without a key, and with a wrong one, every route answers 401 with invalid_api_key."""
    walked = 0
    for resource in surface.app.router.resources():
        path = re.sub(r"\{[^/]*\}", "x1", resource.canonical)
        for route in resource:
            if path in PUBLIC or route.method == "HEAD":
                continue
            for key in (None, "wrong"):
                status, answer, headers = await surface.call(route.method, path, key=key)
                assert (status, answer["error"]["code"]) == (401, "invalid_api_key"), path
                assert headers["www-authenticate"] == "Bearer"
                walked += 1
    assert walked > 2 * 30


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/videos/x/nothing", 404, "not_found"),
        ("GET", "/v1/videos/", 404, "not_found"),
        ("PUT", "/v1/videos", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/videos", 405, "method_not_allowed"),
        ("GET", "/v1/videos/edits", 405, "method_not_allowed"),
        ("DELETE", "/v1/videos/models", 405, "method_not_allowed"),
        ("GET", "/v1/videos/abc/remix", 405, "method_not_allowed"),
        ("TRACE", "/v1/videos", 405, "method_not_allowed"),
    ],
)
async def test_unknown_urls_answer_in_json(surface: Surface, method: str, path: str, status: int, code: str) -> None:
    """Unknown routes and wrong methods get the envelope, a request id and nosniff."""
    got, answer, headers = await surface.call(method, path, key=None)
    assert (got, answer["error"]["code"], answer["error"]["type"]) == (status, code, "invalid_request_error")
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert f"{method} {path}" in answer["error"]["message"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
    assert headers["x-content-type-options"] == "nosniff"
    assert ("allow" in headers) == (status == 405)


async def test_head_and_options_create_nothing(surface: Surface) -> None:
    """HEAD and OPTIONS on the routes that create order nothing."""
    for path in ("/v1/videos", "/v1/videos/edits", "/v1/videos/x/remix", "/v1/video/generations"):
        for method in ("HEAD", "OPTIONS"):
            await surface.call(method, path, json={"prompt": "p"})
    assert surface.engine.received == []


async def test_request_ids_differ_and_are_on_streams(surface: Surface) -> None:
    """Each answer has its own request id and nosniff, also a streamed one."""
    video = surface.engine.finish(surface.engine.add().id)
    seen = set()
    for path in (f"/v1/videos/{video.id}", f"/v1/videos/{video.id}/content", "/v1/models", "/healthz"):
        status, _, headers = await surface.call("GET", path)
        assert status == 200
        assert headers["x-content-type-options"] == "nosniff"
        seen.add(headers["x-request-id"])
    assert len(seen) == 4


async def test_ids_of_any_shape_are_unknown_videos(surface: Surface) -> None:
    """Slashes, dots, NUL, markup and ten thousand characters get the same 404 as an unknown video."""
    ids = [
        "a%2Fb",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "a%00b",
        "a%0d%0ab",
        "%3Cscript%3E",
        "x" * 10_000,
        "a.b",
        "{id}",
        "%F0%9F",
    ]
    for video_id in ids:
        for method, tail in (("GET", ""), ("DELETE", ""), ("GET", "/content"), ("POST", "/remix")):
            head = f"{method} /v1/videos/{video_id}{tail} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
            answer = await raw(surface, f"{head}Authorization: Bearer anna-secret\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 404 "), (video_id[:50], method, tail, answer[:200])
            assert b'"code":"video_not_found"' in answer
            assert len(answer) < 800


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/videos/edits", "/v1/videos/characters"])
async def test_a_refusal_does_not_wait_for_the_body(surface: Surface, path: str) -> None:
    """No key, or a length that is too large: the whole answer comes although no byte of the body did."""
    for headers, status in (
        (
            f"Content-Length: {BIG}\r\nAuthorization: Bearer anna-secret\r\nContent-Type: application/json",
            413,
        ),
        ("Content-Length: 1000\r\nContent-Type: application/json", 401),
        ("Transfer-Encoding: chunked\r\nContent-Type: application/json", 401),
        (f"Content-Length: {BIG}\r\nContent-Type: application/json\r\nExpect: 100-continue", 401),
        (f"Content-Length: {BIG}\r\nAuthorization: Bearer anna-secret\r\nExpect: 100-continue", 413),
        ("Content-Length: 10\r\nAuthorization: Bearer anna-secret\r\nExpect: a-miracle", 417),
    ):
        started = asyncio.get_running_loop().time()
        answer = await raw(surface, f"POST {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n".encode())
        waited = asyncio.get_running_loop().time() - started
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:100]
        assert b"100 Continue" not in answer
        assert b'"error"' in answer
        assert waited < refusals.FAREWELL
    assert surface.engine.received == []


async def test_expect_is_met_for_a_good_request(surface: Surface) -> None:
    """A client with a key and a body that fits is told to go on, and gets its answer."""
    body = b'{"prompt":"p"}'
    head = (
        f"POST /v1/videos HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer anna-secret\r\nConnection: close\r\n"
        f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", surface.port)
    writer.write(head.encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_refused_upload_still_gets_its_answer(surface: Surface) -> None:
    """A client that sends a large body without looking gets the 401 and the 413, with length and in chunks."""

    async def chunked() -> object:
        for _ in range(40):
            yield b"x" * 100_000

    for data, key, status in (
        (io.BytesIO(b"x" * BIG), None, 401),
        (chunked(), None, 401),
        (io.BytesIO(b"x" * BIG), "anna-secret", 413),
        (chunked(), "anna-secret", 413),
    ):
        got, answer, headers = await surface.call(
            "POST", "/v1/videos", key=key, data=data, headers={"Content-Type": "application/json"}
        )
        assert got == status
        assert "error" in answer
        assert headers["connection"] == "close"


async def test_a_client_that_sends_all_before_it_reads_gets_its_answer(surface: Surface) -> None:
    """A refusal survives a client that first sends a body of several socket buffers, and only then looks."""

    def send_then_read() -> bytes:
        with socket.create_connection(("127.0.0.1", surface.port), timeout=20) as link:
            link.sendall(b"POST /v1/videos HTTP/1.1\r\nHost: h\r\nContent-Length: 40000000\r\n\r\n")
            for _ in range(400):
                link.sendall(b"x" * 100_000)
            return link.recv(100)

    assert (await asyncio.to_thread(send_then_read)).startswith(b"HTTP/1.1 401 ")


async def test_chunked_forms_are_counted(surface: Surface) -> None:
    """A form without a length is refused when what came exceeds the limit, and its file is removed."""

    async def chunked() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 100_000
        yield b"\r\n--b--\r\n"

    status, answer, _ = await surface.call(
        "POST", "/v1/videos", data=chunked(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert await asyncio.to_thread(lambda: list(surface.uploads.glob("*"))) == []


async def test_a_small_refused_body_keeps_the_connection(surface: Surface) -> None:
    """A refusal of a body that has arrived does not cost the client its connection."""
    _, _, headers = await surface.call("POST", "/v1/videos", key=None, json={"prompt": "p"})
    assert headers.get("connection", "keep-alive") == "keep-alive"


async def test_uploads_vanish_with_the_request(surface: Surface) -> None:
    """No uploaded file outlives its request: answered, refused, failed, or left by its client half way."""

    def form(prompt: str) -> FormData:
        data = FormData({"prompt": prompt})
        data.add_field("input_reference", b"i" * 400_000, filename="a.png", content_type="image/png")
        return data

    def left() -> list[str]:
        return [file.name for file in surface.uploads.glob("*")]

    assert (await surface.call("POST", "/v1/videos", data=form("p")))[0] == 200
    assert surface.engine.received[-1].files == {"a.png": b"i" * 400_000}
    assert (await surface.call("POST", "/v1/videos", data=form("")))[0] == 400
    surface.engine.fail = RuntimeError("broken")
    assert (await surface.call("POST", "/v1/videos", data=form("p")))[0] == 500
    assert await asyncio.to_thread(left) == []

    head = (
        b"POST /v1/videos HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer anna-secret\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="input_reference"; filename="a.png"\r\n\r\n'
    )
    _, writer = await asyncio.open_connection("127.0.0.1", surface.port)
    writer.write(head + b"i" * 600_000)
    await writer.drain()
    while not await asyncio.to_thread(left):
        await asyncio.sleep(0.01)
    writer.transport.abort()
    async with asyncio.timeout(10):
        while await asyncio.to_thread(left):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_a_client_that_leaves_is_not_delivered_to(
    launched: Launch, caplog: pytest.LogCaptureFixture, handler_cancellation: bool
) -> None:
    """An order whose client hung up is carried through, is not marked delivered, and logs no traceback."""
    surface = await launched(Server(), handler_cancellation=handler_cancellation)
    surface.engine.gate = asyncio.Event()
    body = b'{"prompt":"p"}'
    _, writer = await asyncio.open_connection("127.0.0.1", surface.port)
    writer.write(
        b"POST /v1/videos HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer anna-secret\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    async with asyncio.timeout(10):
        while not surface.engine.received:
            await asyncio.sleep(0.01)
        caplog.set_level(logging.INFO)
        writer.transport.abort()
        while any(link.transport is not None for link in surface.runner.server.connections):
            await asyncio.sleep(0.01)
        surface.engine.gate.set()
        while not surface.engine.videos_by_id or " 499 " not in caplog.text:
            await asyncio.sleep(0.01)
    assert surface.engine.delivered_ids == []
    assert not [record for record in caplog.records if record.exc_info and record.levelno > logging.DEBUG]


async def test_the_access_log_tells_what_and_who_and_no_secret(
    surface: Surface, caplog: pytest.LogCaptureFixture
) -> None:
    """A line has method, path, status, request id, video and key, and neither the query nor a credential."""
    video = surface.engine.finish(surface.engine.add().id)
    caplog.set_level(logging.INFO)
    _, shown, headers = await surface.call("GET", f"/v1/videos/{video.id}?after=x%0ainjected")
    await surface.call("GET", shown["video_url"].removeprefix(surface.url), key=None)
    await surface.call("GET", "/v1/videos%0a/x", key=None)
    lines = [record for record in caplog.records if record.name == "reelgate.access"]
    assert len(lines) == 3
    pattern = rf"GET /v1/videos/{video.id} 200 \d+\.\dms {headers['x-request-id']} {video.id} key=key_anna"
    assert re.fullmatch(pattern, lines[0].getMessage())
    assert lines[0].access.status == 200  # type: ignore[attr-defined]
    assert "key=" not in lines[1].getMessage()
    assert "\n" not in "".join(line.getMessage() for line in lines)
    for secret in ("sig=", "anna-secret", "exp=", "injected"):
        assert secret not in caplog.text


async def test_a_fault_of_ours_is_logged_and_not_told(surface: Surface, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is a 500 without its cause, with a traceback in the log beside the request id."""
    surface.engine.fail = KeyError("the cause")
    status, answer, headers = await surface.call("POST", "/v1/videos", json={"prompt": "p"})
    assert (status, headers["x-should-retry"]) == (500, "false")
    assert "the cause" not in repr(answer)
    [record] = [record for record in caplog.records if record.exc_info]
    assert headers["x-request-id"] in record.getMessage()


async def test_the_hot_path_asks_memory_only(surface: Surface) -> None:
    """Once key and video are in memory, a retrieve waits for nothing."""
    video = surface.engine.add()
    for _ in range(3):
        assert (await surface.call("GET", f"/v1/videos/{video.id}"))[0] == 200
    assert surface.keys.waits == 1


async def test_responses_begun_and_broken_are_cut(surface: Surface) -> None:
    """A fault after the headers breaks the connection instead of looking like a whole answer."""

    async def streams(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        raise RuntimeError("in the middle")

    app = web.Application(middlewares=[middleware.around])
    app.on_response_prepare.append(middleware.stamp)
    app[API] = surface.app[API]
    app.router.add_get("/stream", streams)
    async with TestServer(app) as server, surface.session.get(server.make_url("/stream")) as response:
        assert response.status == 200
        with pytest.raises((ClientPayloadError, ConnectionError)):
            await response.read()
