"""plugins/kling.py: what it reads out of answers, good and bad ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Outcome,
    Throttled,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    UpstreamRefused,
    UpstreamTimeout,
)
from proxy.upstream import submission
from tests.plugins.kling_wire import (
    ACCESS,
    FILM,
    MOMENT,
    PICTURE,
    SECRET,
    TASK,
    done,
    envelope,
    opened,
    refused,
    request,
    taking,
    task,
)
from tests.plugins.openai_oracle import Recorder

JOB = UpstreamJob(TASK, facts={"kind": "image2video", "model": "kling-v1-6"})


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def fetched(recorder: Recorder, job: UpstreamJob = JOB) -> UpstreamJob:
    async with opened(recorder) as channel:
        return await channel.fetch(job)


def knows(recorder: Recorder, path: str, data: Any) -> None:
    """Answer `data` on one path, and elsewhere that there is no such task."""
    recorder.answer = lambda: (
        web.json_response(data)
        if recorder.last.target == path
        else web.json_response(refused(1203, "Task not found"), status=404)
    )


# ---------------------------------------------------------------- polls


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (task("submitted"), "queued"),
        (task("processing"), "in_progress"),
        (done(), "completed"),
        (task("failed", task_status_msg="It broke."), "failed"),
    ],
)
async def test_states(recorder: Recorder, data: Any, status: str) -> None:
    """A poll goes to the path of the kind, and every state is told as ours; the kind is kept."""
    recorder.say(data)
    job = await fetched(recorder)
    assert (recorder.last.method, recorder.last.target) == ("GET", f"/v1/videos/image2video/{TASK}")
    assert (job.id, job.status, job.facts["kind"]) == (TASK, status, "image2video")
    assert job.url == (FILM if status == "completed" else None)


async def test_a_finished_task(recorder: Recorder) -> None:
    """Its film has an id to extend it by, a length, and thirty days."""
    recorder.say(done())
    job = await fetched(recorder)
    assert job.facts == {**JOB.facts, "film": "vid-1", "seconds": 5.1}
    assert (job.expires_at, job.url_expires_at) == (MOMENT // 1000 + 30 * 86_400, None)


@pytest.mark.parametrize(
    ("film", "facts"),
    [
        ({"id": None}, {"seconds": 5.1}),
        ({"id": 7}, {"seconds": 5.1}),
        ({"duration": "long"}, {"film": "vid-1"}),
        ({"duration": 5}, {"film": "vid-1"}),
        ({"duration": None}, {"film": "vid-1"}),
    ],
)
async def test_odd_films(recorder: Recorder, film: dict[str, Any], facts: dict[str, Any]) -> None:
    """What is not said as the sheet has it is not known."""
    recorder.say(done(**film))
    assert (await fetched(recorder)).facts == {**JOB.facts, **facts}


@pytest.mark.parametrize("moment", [None, "soon", 7, True, 1.5, 10**20, 10**400])
async def test_odd_times(recorder: Recorder, moment: Any) -> None:
    """A time that is none says nothing about the end."""
    recorder.say(task("succeed", updated_at=moment, task_result={"videos": [{"url": FILM}]}))
    assert (await fetched(recorder)).expires_at is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        [],
        {},
        envelope(None),
        envelope([]),
        task("dreaming"),
        task("succeed"),
        task("succeed", task_result={"videos": []}),
        done(url=""),
        done(url=7),
        {**task("submitted"), "code": 7},
        {**task("submitted"), "code": "1201"},
        {**task("submitted"), "code": True},
        {**task("submitted"), "code": [1]},
    ],
)
async def test_odd_polls_fail_nothing(recorder: Recorder, data: Any) -> None:
    """What says neither how it is nor why not is the upstream's fault, and fails nothing."""
    recorder.say(data)
    with pytest.raises(UpstreamError):
        await fetched(recorder)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Failure to pass the risk control system", "moderation_blocked"),
        ("The content is sensitive.", "moderation_blocked"),
        ("The generated video violates our community policies.", "moderation_blocked"),
        ("Internal service error", "upstream_failed"),
        ("", "upstream_failed"),
        (None, "upstream_failed"),
        (["x"], "upstream_failed"),
    ],
)
async def test_failures(recorder: Recorder, said: Any, code: str) -> None:
    """A failure keeps its sentence, which is all that tells moderation from the rest."""
    recorder.say(task("failed", task_status_msg=said))
    job = await fetched(recorder)
    assert isinstance(job.error, JobError)
    assert (job.status, job.error.code) == ("failed", code)
    assert job.error.message == (said if isinstance(said, str) and said else job.error.message)
    assert job.error.message


async def test_an_attached_task_is_looked_for(recorder: Recorder) -> None:
    """A task whose kind nobody knows is looked for under each, and its kind kept; another trouble ends the search."""
    knows(recorder, f"/v1/videos/omni-video/{TASK}", task("processing"))
    job = await fetched(recorder, UpstreamJob(TASK))
    assert (job.status, job.facts) == ("in_progress", {"kind": "omni-video"})
    kinds = [call.target.split("/")[3] for call in recorder.calls]
    assert kinds == ["text2video", "image2video", "multi-image2video", "omni-video"]
    recorder.say(refused(1203, "Task not found"), 404)
    with pytest.raises(UpstreamGone):
        await fetched(recorder, UpstreamJob(TASK))
    assert len(recorder.calls) == 9
    recorder.say(refused(5000, "Oops"), 500)
    with pytest.raises(UpstreamError, match="Oops"):
        await fetched(recorder, UpstreamJob(TASK))
    assert len(recorder.calls) == 10


async def test_an_id_is_one_step_of_the_path(recorder: Recorder) -> None:
    """An id stays within its place, whatever it is."""
    await fetched(recorder, UpstreamJob("a/b?c", facts={"kind": "text2video"}))
    assert recorder.last.target == "/v1/videos/text2video/a%2Fb%3Fc"


# ---------------------------------------------------------------- lost submissions


@pytest.mark.parametrize(
    ("changes", "kind", "maker"),
    [
        ({}, "text2video", "kling-v1-6"),
        ({"images": (PICTURE,)}, "image2video", "kling-v1-6"),
        ({"model": "kling-v3-omni"}, "omni-video", "kling-v3-omni"),
        ({"kind": "remix"}, "omni-video", "kling-video-o1"),
        ({"kind": "extend"}, "video-extend", "kling-v1-6"),
    ],
)
async def test_recover(recorder: Recorder, changes: dict[str, Any], kind: str, maker: str) -> None:
    """A lost submission is found by the id that it was given, under its kind; one that is not there may still come."""
    knows(recorder, f"/v1/videos/{kind}/attempt_1", task("processing"))
    async with opened(recorder) as channel:
        found = await channel.recover(request(**changes))
        assert isinstance(found, UpstreamJob)
        assert (found.id, found.facts) == (TASK, {"kind": kind, "model": maker})
        knows(recorder, "", None)
        assert await channel.recover(request(**changes)) is None
        recorder.say(refused(1302, "Too fast"), 429)
        with pytest.raises(Throttled):
            await channel.recover(request(**changes))
    assert {call.method for call in recorder.calls} == {"GET"}


@pytest.mark.parametrize("data", [envelope({}), envelope({"task_status": "submitted"}), envelope(None), {}, [TASK]])
async def test_an_order_without_an_id_is_unknown(recorder: Recorder, data: Any) -> None:
    """A 200 without a task_id may have been taken and paid for."""
    recorder.say(data)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError) as caught:
            await channel.create(request())
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_an_order_in_a_new_state_is_taken(recorder: Recorder) -> None:
    """A word that nobody knows does not lose a task that is paid for."""
    recorder.say(task("dreaming"))
    async with opened(recorder) as channel:
        assert (await channel.create(request())).status == "queued"


async def test_a_source_without_an_address_is_looked_at(recorder: Recorder) -> None:
    """The address of a source is asked for where it is not known; where there is none, nothing is ordered."""
    source = UpstreamJob(TASK, "completed", facts={"kind": "image2video", "seconds": 5.0})
    async with opened(recorder) as channel:
        knows(recorder, f"/v1/videos/image2video/{TASK}", done())
        with pytest.raises(UpstreamGone), submission():
            await channel.remix(request(kind="remix"), source)
        assert recorder.last.json["video_list"][0]["video_url"] == FILM
        recorder.say(task("processing"))
        with pytest.raises(UpstreamRefused, match="no result"), submission():
            await channel.remix(request(kind="remix"), source)
        for answer, status in ((refused(5001, "Maintenance"), 503), (task("dreaming"), 200)):
            recorder.say(answer, status)
            with pytest.raises(UpstreamError) as caught, submission():
                await channel.remix(request(kind="remix"), source)
            assert caught.value.outcome is Outcome.REFUSED
    assert [call.method for call in recorder.calls] == ["GET", "POST", "GET", "GET", "GET"]


# ---------------------------------------------------------------- refusals

OPERATOR = "Only the operator"


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "said", "kind", "message", "param"),
    [
        *[(401, code, "Auth failed", AccountRefused, OPERATOR, None) for code in range(1000, 1005)],
        *[(429, code, "Account in arrears", AccountRefused, OPERATOR, None) for code in (1100, 1101, 1102, 1304)],
        (403, 1103, "No permission", AccountRefused, OPERATOR, None),
        *[(429, code, "parallel task over resource pack limit", Throttled, "busy", None) for code in (1302, 1303)],
        (400, 1200, "Bad request", InvalidRequest, "Bad request", None),
        (400, 1201, "duration value '7' is invalid", InvalidRequest, "duration value", "seconds"),
        (400, 1201, "Image pixel is invalid", InvalidRequest, "pixel", "input_reference"),
        (400, 1201, "image_tail and mode cannot go together", InvalidRequest, "image_tail", "size"),
        (400, 1201, "negative_prompt is too long", InvalidRequest, "too long", "negative_prompt"),
        (400, 1201, "model_name is invalid", InvalidRequest, "model_name", "model"),
        (400, 1300, "Platform policy", ModerationBlocked, "Platform policy", None),
        (400, 1201, "", InvalidRequest, "did not say why", None),
        (400, 1301, "", ModerationBlocked, "moderation refuses", None),
        (404, 1202, "Method not allowed", UpstreamGone, "Method", None),
        (404, 1203, "Model not found", UpstreamGone, "Model not found", None),
    ],
)
async def test_codes(
    recorder: Recorder,
    inside: bool,
    status: int,
    code: int,
    said: str,
    kind: type[ApiError],
    message: str,
    param: str | None,
) -> None:
    """Each code means the same with its own status and inside a 200, and certainly nothing was taken."""
    recorder.say(refused(code, said), 200 if inside else status, Retry_After="9")
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=message) as caught:
            await channel.create(request())
    assert (type(caught.value), caught.value.param) == (kind, param)
    assert caught.value.outcome is (Outcome.CLIENT if issubclass(kind, InvalidRequest) else Outcome.REFUSED)
    assert caught.value.retry_after == (9 if kind is Throttled else None)
    assert len(recorder.calls) == 1


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (500, refused(5000, "Internal"), UpstreamError),
        (503, refused(5001, "Maintenance"), UpstreamError),
        (504, refused(5002, "Timeout"), UpstreamTimeout),
        (200, refused(5000, "Internal"), UpstreamError),
        (200, refused(4242, "New"), UpstreamError),
        (200, refused("1201", "A text"), UpstreamError),
    ],
)
async def test_what_may_have_been_taken(recorder: Recorder, status: int, data: Any, kind: type[ApiError]) -> None:
    """An outage and a code that nobody knows leave open whether the task runs; the sentence is kept."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=data["message"]) as caught:
            await channel.create(request())
    assert (type(caught.value), caught.value.outcome) == (kind, Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidRequest), (401, AccountRefused), (404, UpstreamGone), (429, Throttled)]
)
async def test_statuses_without_a_code(recorder: Recorder, status: int, kind: type[ApiError]) -> None:
    """A front that is not Kling's own is read by its status."""
    recorder.say(b"<html>", status)
    async with opened(recorder) as channel:
        with pytest.raises(kind):
            await channel.create(request())


@pytest.mark.parametrize("keys", [{}, {"access_key": "violin", "secret_key": "trombone"}])
async def test_keys_are_taken_out_of_sentences(recorder: Recorder, keys: dict[str, str]) -> None:
    """Neither half of the pair, whatever it looks like, nor the token made of it, is in what a client is told."""
    pair = tuple(keys.values()) or (ACCESS, SECRET)
    async with opened(recorder, **keys) as channel:
        token = channel.headers()["Authorization"].removeprefix("Bearer ")
        recorder.say(refused(1201, f"{pair[0]} and {pair[1]} and {token}"), 400)
        with pytest.raises(InvalidRequest) as caught:
            await channel.create(request())
    assert not any(word in caught.value.message for word in (*pair, token))
