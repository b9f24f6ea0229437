"""The log: which ids a line has, its two forms, and that no secret is in it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from proxy.api import Access
from proxy.logs import AccessWriter, log_context, start_logging
from proxy.upstream.redact import RedactingFilter, Redactor

SECRET = "sk-canary-7f3a90c2d41b"
log = logging.getLogger("reelgate.test")


class Written:
    """What was written to stderr so far."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self._text = ""

    @property
    def text(self) -> str:
        self._text += self._captured.readouterr().err
        return self._text

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str], started_log: None) -> Written:
    """What a log that the test starts writes."""
    return Written(capsys)


# ---------------------------------------------------------------- whose line it is


async def test_tasks_have_the_ids_of_what_started_them(stderr: Written) -> None:
    """What a request sets going logs its id, also after the next request began; a poll's video is its own only."""
    start_logging("json")
    go = asyncio.Event()

    async def submit() -> None:
        log_context(video_id="video_1")
        await go.wait()
        log.info("submitted")

    async def poll(video_id: str) -> None:
        log_context(video_id=video_id)
        await go.wait()
        await asyncio.to_thread(log.info, "polled")

    log.info("started")
    polls = [asyncio.create_task(poll(f"video_{number}")) for number in (2, 3)]
    log_context(request_id="req_1")
    submission = asyncio.create_task(submit())
    await asyncio.sleep(0)
    log.info("answered")
    # The next request on the same connection.
    log_context(request_id="req_2", video_id="video_9")
    log.info("looked")
    log_context(request_id="req_3")
    log.info("listed")
    go.set()
    await asyncio.gather(submission, *polls)
    assert {(line["message"], line.get("request_id"), line.get("video_id")) for line in stderr.objects()} == {
        ("started", None, None),
        ("answered", "req_1", None),
        ("looked", "req_2", "video_9"),
        ("listed", "req_3", None),
        ("submitted", "req_1", "video_1"),
        ("polled", None, "video_2"),
        ("polled", None, "video_3"),
    }


async def test_json_lines_have_ids_only_where_there_are_any(stderr: Written) -> None:
    """A line that is about no request has no such field, rather than null."""
    start_logging("json")
    log.info("a\nb")
    log_context(video_id="video_1")
    log.warning("c")
    first, second = stderr.objects()
    assert {name: value for name, value in first.items() if name != "time"} == {
        "level": "info",
        "logger": "reelgate.test",
        "message": "a\nb",
    }
    assert (second["level"], second["video_id"]) == ("warning", "video_1")
    assert "request_id" not in second
    assert first["time"] == pytest.approx(time.time(), abs=60)


async def test_console_lines_end_with_their_ids(stderr: Written) -> None:
    """In brackets behind the message and before a traceback; an id that the message has already is not repeated."""
    start_logging("console")
    log.info("nothing known")
    log_context(request_id="req_1", video_id="video_1")
    log.info("both")
    log.info("video video_1 has one")
    log.info("req_1: video_1 has both")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        log.exception("failed")
    lines = [line.partition("reelgate.test: ")[2] or line for line in stderr.text.splitlines()]
    assert lines[:6] == [
        "nothing known",
        "both [req_1 video_1]",
        "video video_1 has one [req_1]",
        "req_1: video_1 has both",
        "failed [req_1 video_1]",
        "Traceback (most recent call last):",
    ]
    assert lines[-1] == "RuntimeError: broken"


# ---------------------------------------------------------------- what is kept out


@pytest.mark.parametrize("form", ["json", "console"])
async def test_secrets_are_in_no_line(stderr: Written, form: str) -> None:
    """Not in a message, its arguments, or an exception and its cause; the rest of each stays."""
    start_logging(form, RedactingFilter(Redactor([SECRET])))
    log_context(request_id="req_1", video_id="video_1")
    log.warning("the upstream said %s", {"authorization": f"Bearer {SECRET}"})
    log.warning("plain " + SECRET)
    try:
        try:
            raise ValueError(f"inner {SECRET}")
        except ValueError as error:
            raise RuntimeError(f"outer {SECRET}") from error
    except RuntimeError:
        log.exception("failed with %s", SECRET)
    text = stderr.text
    assert SECRET not in text
    kept = ("Bearer [secret]", "plain [secret]", "inner [secret]", "outer [secret]", "failed with [secret]")
    assert [text.count(word) for word in kept] == [1] * 5
    assert [text.count(word) for word in ("req_1", "video_1")] == [3, 3]


async def test_exceptions_are_told_without_a_redacting_filter_too(stderr: Written) -> None:
    """A JSON line has its traceback whichever filters there are."""
    start_logging("json")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        log.exception("failed")
    (line,) = stderr.objects()
    assert line["exception"].endswith("RuntimeError: broken")


async def test_bad_http_is_no_fault_of_ours(stderr: Written) -> None:
    """aiohttp's traceback for a request that is no HTTP is dropped; that of a real error stays."""
    start_logging("json")
    for error in (BadHttpMessage("what is this"), RuntimeError("broken")):
        try:
            raise error
        except Exception:
            logging.getLogger("aiohttp.server").exception("Error handling request")
    (line,) = stderr.objects()
    assert "RuntimeError: broken" in line["exception"]


async def test_a_second_start_takes_the_place_of_the_first(stderr: Written) -> None:
    """Each line is written once, in the newest form."""
    start_logging("json")
    start_logging("console")
    log.info("once")
    assert stderr.text.count("once") == 1
    assert stderr.text.endswith("reelgate.test: once\n")


# ---------------------------------------------------------------- the access log


def access(number: int) -> Access:
    return Access(1_700_000_000.25, "GET", f"/v1/videos/{number}", 200, 1.25, f"req_{number}", None, "key_1")


@pytest.mark.parametrize("form", ["json", "console"])
async def test_access_lines_are_gathered_and_none_is_lost(
    stderr: Written, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines come out in their order, by themselves soon after, or when they are flushed; each of them once."""
    monkeypatch.setattr(AccessWriter, "EVERY", 0.01)
    writer = AccessWriter(form)
    writer(access(1))
    writer(access(2))
    assert stderr.text == ""
    async with asyncio.timeout(10):
        while not stderr.text:
            await asyncio.sleep(0.005)
    writer(access(3))
    writer.flush()
    writer.flush()
    lines = stderr.text.splitlines()
    if form == "console":
        assert lines == [
            f"2023-11-14T22:13:20Z INFO    reelgate.access: GET /v1/videos/{number} 200 1.2ms req_{number} key=key_1"
            for number in (1, 2, 3)
        ]
    else:
        assert [json.loads(line) for line in lines] == [
            {
                "time": 1_700_000_000.25,
                "level": "info",
                "logger": "reelgate.access",
                "method": "GET",
                "path": f"/v1/videos/{number}",
                "status": 200,
                "milliseconds": 1.2,
                "request_id": f"req_{number}",
                "video_id": None,
                "key_id": "key_1",
            }
            for number in (1, 2, 3)
        ]
