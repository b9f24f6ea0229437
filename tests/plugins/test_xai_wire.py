"""plugins/xai.py: what it sends and what it reads out of answers, good and bad ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from plugins.xai import Xai, XaiOptions
from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    Model,
    ModerationBlocked,
    Outcome,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
)
from tests.plugins.openai_oracle import PROMPT, Recorder
from tests.plugins.xai_wire import FILM, KEY, OTHER, OTHER_URI, PICTURE, TASK, URI, done, opened, request, taking

BODY = {"model": "grok-imagine-video-1.5", "prompt": PROMPT, "duration": 5}
WIDE = {"aspect_ratio": "16:9", "resolution": "720p"}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, **changes: Any) -> Any:
    """The body of a creation."""
    async with opened(recorder) as channel:
        channel.check(request(**changes))
        job = await channel.create(request(**changes))
    assert (job.id, job.status) == (TASK, "queued")
    assert (recorder.last.method, recorder.last.target) == ("POST", "/v1/videos/generations")
    assert recorder.last.headers["authorization"] == f"Bearer {KEY}"
    return recorder.last.json


async def fetched(recorder: Recorder, job: UpstreamJob | None = None) -> UpstreamJob:
    async with opened(recorder) as channel:
        return await channel.fetch(job or UpstreamJob(TASK))


# ---------------------------------------------------------------- creations


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, {}),
        ({"images": (PICTURE,)}, {"image": {"url": URI}}),
        ({"images": (PICTURE, OTHER)}, {"reference_images": [{"url": URI}, {"url": OTHER_URI}]}),
        ({"images": (PICTURE,), "last_frame": OTHER}, {"image": {"url": URI}, "last_frame": {"url": OTHER_URI}}),
        ({"audio": False}, {"generate_audio": False}),
        ({"audio": True}, {"generate_audio": True}),
        ({"seed": 7, "negative_prompt": "rain"}, {}),
        ({"metadata": {"user": "u-1", "prompt": "no", "model": "no", "resolution": "480p"}}, {"user": "u-1"}),
    ],
)
async def test_creations(recorder: Recorder, changes: dict[str, Any], fields: dict[str, Any]) -> None:
    """One picture is where the film begins, several are references; metadata goes below our own; xAI has no seed."""
    assert await sent(recorder, **changes) == {**BODY, **WIDE, **fields}


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("848x480", ("16:9", "480p")),
        ("854x480", ("16:9", "480p")),
        ("480x480", ("1:1", "480p")),
        ("720x1280", ("9:16", "720p")),
        ("960x720", ("4:3", "720p")),
        ("720x960", ("3:4", "720p")),
        ("1080x720", ("3:2", "720p")),
        ("720x1080", ("2:3", "720p")),
        ("1920x1080", ("16:9", "1080p")),
        ("1080x1620", ("2:3", "1080p")),
        ("600x600", ("1:1", "720p")),
    ],
)
async def test_sizes(recorder: Recorder, size: str, shape: tuple[str, str]) -> None:
    """A size is an aspect ratio and a resolution."""
    body = await sent(recorder, size=size)
    assert (body["aspect_ratio"], body["resolution"]) == shape


@pytest.mark.parametrize(
    ("changes", "kind", "param"),
    [
        ({"images": (PICTURE, OTHER), "last_frame": OTHER}, UnsupportedOperation, "last_frame"),
        ({"images": (PICTURE, OTHER), "size": "1920x1080"}, InvalidRequest, "size"),
    ],
)
async def test_what_cannot_be_combined(
    recorder: Recorder, changes: dict[str, Any], kind: type[InvalidRequest], param: str
) -> None:
    """References have 720p at most and no end; nothing is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(kind) as caught:
            channel.check(request(**changes))
        channel.check(request(images=(PICTURE,), size="1920x1080", last_frame=OTHER))
    assert (caught.value.param, recorder.calls) == (param, [])


def test_what_models_can_do() -> None:
    """Seconds, sizes, inputs and prices by resolution are those of the sheet."""
    first, second, lite = (Xai.models[f"grok-imagine-video{more}"] for more in ("", "-1.5", "-1.5-lite"))

    def prices(model: Model) -> list[float | None]:
        return [model.price_of(size) for size in ("848x480", "720x1280", "1080x1080") if size in model.sizes]

    assert [prices(one) for one in (first, second, lite)] == [[0.05, 0.07], [0.08, 0.14, 0.25], [0.02, 0.03, 0.14]]
    assert [one.last_frame for one in (first, second, lite)] == [False, True, False]
    assert second.max_images == 7
    assert second.seconds == tuple(range(1, 16))
    assert second.lengths("extend") == tuple(range(1, 11))
    assert Xai.models["grok-imagine-video-1.5-preview"] == second
    assert {"storage_options", "output", "reference_images", "resolution", "duration"} <= Xai.priced_metadata


# ---------------------------------------------------------------- polls


@pytest.mark.parametrize(
    ("status", "data", "expected"),
    [
        (202, b"", ("queued", 0)),
        (202, b"\n", ("queued", 0)),
        (202, {"status": "pending"}, ("queued", 0)),
        (202, {"status": "pending", "progress": 0}, ("queued", 0)),
        (202, {"status": "pending", "progress": 40}, ("in_progress", 40)),
        (200, {"status": "pending", "progress": 100}, ("in_progress", 99)),
        (200, done(), ("completed", 100)),
        (200, {**done(), "status": None}, ("completed", 100)),
        (200, {"status": "failed", "error": {"code": "internal", "message": "It broke."}}, ("failed", 0)),
        (200, {"status": "expired"}, ("failed", 0)),
    ],
)
async def test_states(recorder: Recorder, status: int, data: Any, expected: tuple[str, int]) -> None:
    """A 202 waits, whatever its body; an address without a state is a film; every end is told as ours."""
    recorder.say(data, status)
    job = await fetched(recorder)
    assert (recorder.last.method, recorder.last.target) == ("GET", f"/v1/videos/{TASK}")
    assert (job.id, job.status, job.progress) == (TASK, *expected)
    assert job.url == (FILM if job.status == "completed" else None)


async def test_a_film_that_was_stored_is_found_there(recorder: Recorder) -> None:
    """Where the operator lets results be stored, the film may have the storage's public address alone."""
    recorder.say(done(url=None, file_output={"file_id": "f", "filename": "a.mp4", "public_url": FILM}))
    job = await fetched(recorder)
    assert (job.status, job.url) == ("completed", FILM)


async def test_an_empty_202_has_no_type_either(recorder: Recorder) -> None:
    """A 202 without a body, a length or a type waits; an id is one step of the path."""
    recorder.answer = lambda: web.Response(status=202)
    assert (await fetched(recorder, UpstreamJob("a/b"))).status == "queued"
    assert recorder.last.target == "/v1/videos/a%2Fb"


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (202, b"<html>"),
        (202, {}),
        (202, []),
        (202, {"progress": 40}),
        (202, {"status": "dreaming"}),
        (200, b""),
        (200, {"status": None}),
        (200, {"status": None, "video": {"url": ""}}),
        (200, done(url=7)),
    ],
)
async def test_odd_polls_fail_nothing(recorder: Recorder, status: int, data: Any) -> None:
    """What says neither that it waits nor how it ended is the upstream's fault, and fails nothing."""
    recorder.say(data, status)
    with pytest.raises(UpstreamError):
        await fetched(recorder)


BLOCKED = JobError("moderation_blocked", "The upstream's moderation held the video back.")
NONE = JobError("upstream_failed", "The upstream says that the video is done, but gave none.")


@pytest.mark.parametrize("more", [{"url": ""}, {"url": None}, {}])
async def test_done_and_moderated(recorder: Recorder, more: dict[str, Any]) -> None:
    """A request that is done is no success where the moderation was not respected."""
    recorder.say(done(respect_moderation=False, **more))
    job = await fetched(recorder)
    assert (job.status, job.error) == ("failed", BLOCKED)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"status": "done", "progress": 100}, BLOCKED),
        ({"status": "done", "video": None}, BLOCKED),
        ({"status": "done", "video": [FILM]}, BLOCKED),
        (done(url="", respect_moderation=None), BLOCKED),
        (done(url=""), NONE),
    ],
)
async def test_done_without_a_film(recorder: Recorder, data: dict[str, Any], error: JobError) -> None:
    """One that is done without an address, and without a word about it, is looked at three times before it failed."""
    recorder.say(data)
    job = UpstreamJob(TASK)
    for looks in (1, 2):
        job = await fetched(recorder, job)
        assert (job.status, job.facts) == ("in_progress", {"looks": looks})
    assert ((await fetched(recorder, job)).error) == error
    recorder.say(done())
    assert (await fetched(recorder, job)).status == "completed"


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (
            {"error": {"code": "invalid_argument", "message": "Rejected by content moderation."}},
            "moderation_blocked",
            "Rejected by content moderation.",
        ),
        ({"error": {"code": "invalid_argument", "message": "Too short."}}, "upstream_failed", "Too short."),
        ({"code": "internal", "error": "It broke."}, "upstream_failed", "It broke."),
        ({"error": {"code": "internal"}}, "upstream_failed", "The upstream says internal."),
        ({"error": "It broke."}, "upstream_failed", "It broke."),
        ({"error": {"code": 7, "message": ["x"]}}, "upstream_failed", "The upstream gave no reason."),
        ({}, "upstream_failed", "The upstream gave no reason."),
        ({"status": "expired"}, "expired", "The upstream let the request expire."),
    ],
)
async def test_failures(recorder: Recorder, data: dict[str, Any], code: str, message: str) -> None:
    """A failure keeps its sentence in each of the three shapes; moderation and expiry have codes of their own."""
    recorder.say({"status": "failed", **data})
    assert (await fetched(recorder)).error == JobError(code, message)


async def test_the_address_of_a_film_lives_for_a_day(recorder: Recorder) -> None:
    """The address is good for a day from when it was first told, and a new one for another day."""
    recorder.say(done(duration=8))
    first = await fetched(recorder)
    assert first.url_expires_at is not None
    assert abs(first.url_expires_at - time.time() - 86_400) < 60
    assert (first.expires_at, first.facts) == (None, {"seconds": 8})
    old = UpstreamJob(TASK, "completed", url=FILM, url_expires_at=1234.0)
    assert (await fetched(recorder, old)).url_expires_at == 1234.0
    recorder.say(done(url="https://vidgen.x.ai/new.mp4"))
    assert ((await fetched(recorder, old)).url_expires_at or 0) > time.time()


# ---------------------------------------------------------------- refusals

TEAM = "Your team 3f2a has either used all available credits or reached its monthly spending limit."


@pytest.mark.parametrize(
    ("status", "data", "kind", "message", "param"),
    [
        (400, {"error": {"message": "Too long.", "param": "duration"}}, InvalidRequest, "Too long.", "seconds"),
        (400, {"error": {"message": "No.", "param": "new", "code": "c"}}, InvalidRequest, "request: No.", None),
        (422, {"code": "invalid-argument", "error": "No such ratio."}, InvalidRequest, "No such ratio.", None),
        (422, {"error": "No such ratio."}, InvalidRequest, "No such ratio.", None),
        (400, {"error": 7}, InvalidRequest, "without saying why", None),
        (400, {"error": {"message": "Blocked by moderation."}}, ModerationBlocked, "Blocked by moderation.", None),
        (400, {"code": "content_moderation", "error": "No."}, ModerationBlocked, "No.", None),
        (400, {"code": "content_moderation"}, ModerationBlocked, "moderation refuses", None),
        (403, {"error": "Content violates usage guidelines."}, ModerationBlocked, "usage guidelines", None),
        (400, {"code": "x", "error": "Incorrect API key provided: xa***9."}, AccountRefused, "operator", None),
        (401, {"error": "No credentials."}, AccountRefused, "credentials or account", None),
        (403, {"code": "permission-denied", "error": TEAM}, AccountRefused, "Only the operator", None),
        (429, {"code": "resource-exhausted", "error": TEAM}, AccountRefused, "Only the operator", None),
        (429, {"error": "Too many requests."}, Throttled, "too busy", None),
        (429, {"error": "Your rate limit is 1 per second. Raise it on the billing page."}, Throttled, "too busy", None),
        (404, {"error": "No such model."}, UpstreamGone, "No such model.", None),
        (503, {"error": "Safety system down."}, UpstreamError, "Safety system down.", None),
    ],
)
async def test_refusals(
    recorder: Recorder, status: int, data: Any, kind: type[ApiError], message: str, param: str | None
) -> None:
    """Moderation, bad input, a bad key, an empty account, throttling and an outage are told apart in every shape."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=message) as caught:
            await channel.create(request())
    assert type(caught.value) is kind
    assert caught.value.param == param
    client = issubclass(kind, InvalidRequest)
    certain = Outcome.CLIENT if client else Outcome.UNKNOWN if status == 503 else Outcome.REFUSED
    assert caught.value.outcome is certain
    assert len(recorder.calls) == 1


async def test_an_order_without_an_id_is_unknown(recorder: Recorder) -> None:
    """A 200 without a request_id may have been taken and paid for."""
    recorder.say({"id": TASK})
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError) as caught:
            await channel.create(request())
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("mistake", [{"clips": "file"}, {"clip": "link"}])
def test_options_are_checked(mistake: dict[str, str]) -> None:
    """A way to send clips that there is not is a mistake, and so is an unknown option."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(mistake, XaiOptions)
