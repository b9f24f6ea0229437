"""Calls that put the files in an answer aside: everything else about them is as without."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.errors import (
    ApiError,
    InvalidRequest,
    ModerationBlocked,
    Outcome,
    Throttled,
    UpstreamError,
    UpstreamTimeout,
)
from proxy.reply import Reply
from proxy.spooled import Spooled
from proxy.upstream import Upstream, spool, submission
from proxy.upstream.answers import LARGEST_BODY
from proxy.upstream.http import Http
from tests.upstream.conftest import KEY, QUICK, Handler, Sites, Wires, answering, channel, failure

VIDEO = random.Random(7).randbytes(700_000)
TEXT = base64.b64encode(VIDEO).decode()
DONE = {"done": True, "response": {"videos": [{"bytesBase64Encoded": TEXT, "mimeType": "video/mp4"}]}}
WHERE = "response.videos[0].bytesBase64Encoded"


def spooling(http: Http, url: str, folder: Path, **options: Any) -> Upstream:
    return channel(http, url, folder=folder, **options)


async def left(folder: Path) -> list[Path]:
    """The files in the folder."""
    return await asyncio.to_thread(lambda: list(folder.iterdir()) if folder.exists() else [])


async def gone(folder: Path) -> None:
    """Until there is no file in the folder: one that is dropped on the loop is removed by a thread."""
    async with asyncio.timeout(20):
        while await left(folder):
            await asyncio.sleep(0)


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("framing", ["length", "chunked", "gzip"])
async def test_a_file_in_an_answer(http: Http, sites: Sites, tmp_path: Path, method: str, framing: str) -> None:
    """The file is byte for byte what the upstream made, the rest of the answer is there, and both vanish together."""

    async def answer(request: web.Request) -> web.Response:
        response = web.json_response(DONE)
        if framing == "chunked":
            response.enable_chunked_encoding()
        if framing == "gzip":
            response.enable_compression(web.ContentCoding.gzip)
        return response

    upstream = spooling(http, (await sites(answer)).url, tmp_path / "work")
    reply = await (
        upstream.get("/v1/x", spool=True) if method == "get" else upstream.post("/v1/x", json={}, spool=True)
    )
    found = reply.need(WHERE)
    assert isinstance(found, Spooled)
    assert (found.size, await asyncio.to_thread(found.path.read_bytes)) == (len(VIDEO), VIDEO)
    assert (reply.get("done"), reply.get("response.videos[0].mimeType")) == (True, "video/mp4")
    assert (reply.status, reply.text) == (200, "")
    assert reply.headers["content-type"].startswith("application/json")
    del reply, found
    await gone(tmp_path / "work")


async def test_without_spool_it_is_text(http: Http, sites: Sites, tmp_path: Path) -> None:
    """Nobody gets a file who did not ask for it."""
    upstream = spooling(http, (await sites(answering(200, DONE))).url, tmp_path)
    assert (await upstream.post("/v1/x", json={})).need(WHERE) == TEXT
    assert await left(tmp_path) == []


@pytest.mark.parametrize("body", [{"done": False}, {"name": "operations/1", "log": "a line\n" * 20_000}])
async def test_answers_without_files(http: Http, sites: Sites, tmp_path: Path, body: Any) -> None:
    """An answer without a file is what it is, short or long, and no file is made."""
    upstream = spooling(http, (await sites(answering(200, body))).url, tmp_path)
    assert (await upstream.get("/v1/x", spool=True)).data == body
    assert await left(tmp_path) == []


async def test_errors_are_those_of_every_call(http: Http, sites: Sites, tmp_path: Path) -> None:
    """An error status has its words, redacted, and its meaning; `refusal` is asked about a 2xx with a file too, and
    where that is an error the file is gone."""
    answers: list[Handler] = [
        answering(400, {"error": {"message": f"no: {KEY}"}}),
        answering(429, {}, {"retry-after": "7"}),
        answering(200, DONE),
    ]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    def refusal(status: int, reply: Reply) -> ApiError | None:
        return ModerationBlocked("blocked") if isinstance(reply.get(WHERE), Spooled) else None

    upstream = spooling(http, (await sites(answer)).url, tmp_path)
    upstream.refusal = refusal
    errors = [await failure(upstream.post("/v1/x", json={}, spool=True)) for _ in range(3)]
    assert [type(error) for error in errors] == [InvalidRequest, Throttled, ModerationBlocked]
    assert KEY not in errors[0].message
    assert errors[1].retry_after == 7
    # The errors are still there; only their files are not.
    await gone(tmp_path)


@pytest.mark.parametrize("end", ["broken", "cut", "chunk", "silence", "text", "files"])
async def test_what_breaks_leaves_no_file(
    http: Http,
    wires: Wires,
    tmp_path: Path,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that breaks, an answer that is cut, silent or too large: an error that is unknown for a paid call, counts
    as taken, tells nothing of the answer, and leaves no file."""
    body = json.dumps(DONE)[:-100]
    if end == "broken":
        body = json.dumps(DONE).replace(TEXT[500_000:500_004], "****")
    elif end == "text":
        body += '"}, "' + "x y " * (LARGEST_BODY // 4)
    elif end == "files":
        monkeypatch.setattr(spool, "LARGEST_FILES", 600_000)

    async def script(writer: Any) -> None:
        if end == "chunk":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body.encode())
        else:
            length = len(body) if end in ("broken", "text", "files") else len(body) + 50
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}".encode())
        await writer.drain()
        if end == "silence":
            await asyncio.Event().wait()
        writer.close()

    upstream = spooling(http, (await wires(script)).url, tmp_path, timeout=QUICK)
    with submission() as ledger:
        error = await failure(upstream.post("/v1/x", json={}, spool=True))
    assert type(error) is (UpstreamTimeout if end == "silence" else UpstreamError)
    assert error.outcome is Outcome.UNKNOWN
    assert ledger.taken
    free = await failure(upstream.post("/v1/x", json={}, paid=False, spool=True))
    assert free.outcome is Outcome.REFUSED
    await gone(tmp_path)
    assert TEXT[:30] not in error.message + caplog.text
    assert "POST failed" in caplog.text


async def test_a_cancelled_call_leaves_no_file(http: Http, wires: Wires, tmp_path: Path) -> None:
    """Whoever cancels a call in the middle finds no file when that has ended."""

    async def script(writer: Any) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n{json.dumps(DONE)[:-50]}".encode())
        await asyncio.Event().wait()

    upstream = spooling(http, (await wires(script)).url, tmp_path)
    for _ in range(3):
        call = asyncio.create_task(upstream.get("/v1/x", spool=True))
        async with asyncio.timeout(20):
            while not await left(tmp_path):
                await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await left(tmp_path) == []


async def test_a_disk_without_room_is_ours(
    http: Http, sites: Sites, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the file cannot be written, the client hears that it is this server, and the log has the reason and no
    path."""
    (tmp_path / "work").write_text("in the way")
    upstream = spooling(http, (await sites(answering(200, DONE))).url, tmp_path / "work")
    error = await failure(upstream.get("/v1/x", spool=True))
    assert (type(error), error.message) == (UpstreamError, "This server cannot keep the upstream's answer.")
    assert "cannot be written: File exists" in caplog.text
    assert str(tmp_path) not in caplog.text


async def test_two_files_in_an_answer(http: Http, sites: Sites, tmp_path: Path) -> None:
    """Of several films each is a file of its own, which stays as long as somebody has it."""
    films = [VIDEO, VIDEO[::-1], VIDEO[:90_000]]
    body = {"videos": [{"data": base64.b64encode(film).decode()} for film in films]}
    upstream = spooling(http, (await sites(answering(200, body))).url, tmp_path)
    reply = await upstream.get("/v1/x", spool=True)
    found = [reply.need(f"videos[{number}].data") for number in range(3)]
    del reply
    assert [await asyncio.to_thread(film.path.read_bytes) for film in found] == films
    assert len(await left(tmp_path)) == 3
    kept = found.pop(1)
    del found
    async with asyncio.timeout(20):
        while len(await left(tmp_path)) > 1:
            await asyncio.sleep(0)
    assert await asyncio.to_thread(kept.path.read_bytes) == VIDEO[::-1]


@pytest.mark.parametrize("step", ["write", "done"])
async def test_a_full_disk_leaves_no_file(
    http: Http,
    sites: Sites,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    """Where the disk is full the file is removed; a paid call stays unknown, because the upstream did its part."""

    def full(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    upstream = spooling(http, (await sites(answering(200, DONE))).url, tmp_path)
    monkeypatch.setattr(spool._File, step, full)
    with submission() as ledger:
        error = await failure(upstream.post("/v1/x", json={}, spool=True))
    assert (type(error), error.outcome, ledger.taken) == (UpstreamError, Outcome.UNKNOWN, True)
    assert error.message == "This server cannot keep the upstream's answer."
    assert "No space left on device" in caplog.text
    assert await left(tmp_path) == []
