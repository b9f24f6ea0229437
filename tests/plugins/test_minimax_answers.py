"""plugins/minimax.py: what it reads out of answers, good and bad ones, on both wires."""

from __future__ import annotations

import time
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
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    UpstreamTimeout,
)
from tests.plugins.minimax_wire import (
    FILE,
    FILM,
    JOBS,
    NEWER,
    TASK,
    base,
    done,
    error,
    first,
    opened,
    query,
    retrieved,
    say_in_turn,
    second,
    taking,
    task,
)
from tests.plugins.openai_oracle import Recorder


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def fetched(recorder: Recorder, job: UpstreamJob, **options: Any) -> UpstreamJob:
    async with opened(recorder, **options) as channel:
        return await channel.fetch(job)


# ---------------------------------------------------------------- polls of V1


@pytest.mark.parametrize(
    ("word", "status"),
    [("Preparing", "queued"), ("Queueing", "queued"), ("Processing", "in_progress"), ("Fail", "failed")],
)
async def test_states_of_v1(recorder: Recorder, word: str, status: str) -> None:
    """A poll asks with the task in the query, and every state of V1 has one of ours."""
    recorder.say(query(word))
    job = await fetched(recorder, JOBS["v1"])
    assert recorder.last.target == f"/v1/query/video_generation?task_id={TASK}"
    assert (job.id, job.status, job.url) == (TASK, status, None)


async def test_the_third_call_of_v1(recorder: Recorder) -> None:
    """The address of a finished video is asked for by its file, whose number keeps all its digits, for nine hours."""
    say_in_turn(recorder, done(), retrieved(), query("Success", file_id=FILE), retrieved(FILM + "&new=1"))
    job = await fetched(recorder, JOBS["v1"])
    assert recorder.last.target == f"/v1/files/retrieve?file_id={FILE}"
    assert (job.status, job.url, job.expires_at) == ("completed", FILM, None)
    assert abs((job.url_expires_at or 0) - time.time() - 9 * 3600) < 60
    again = await fetched(recorder, job)
    assert (again.url, len(recorder.calls)) == (FILM + "&new=1", 4)
    assert recorder.last.target == f"/v1/files/retrieve?file_id={FILE}"


async def test_a_job_without_a_word_about_its_wire(recorder: Recorder) -> None:
    """A lost order that an operator found by its id is asked for on V2, then on V1, unless the entry names the wire."""
    found = UpstreamJob(NEWER)
    recorder.say(task("running"))
    assert (await fetched(recorder, found)).facts == {"version": "v2"}
    for status, missing in ((404, "not_found_error"), (400, "bad_request_error"), (403, "forbidden_error")):
        following = iter([(error(missing, status, "no such task (2013)"), status), (query("Queueing"), 200)])

        def answer(following: Any = following) -> web.Response:
            said, code = next(following)
            return web.json_response(said, status=code)

        recorder.answer = answer
        job = await fetched(recorder, UpstreamJob("a&b"))
        assert (job.status, job.facts, recorder.last.target[-14:]) == ("queued", {"version": "v1"}, "?task_id=a%26b")
    calls = len(recorder.calls)
    recorder.say(error("not_found_error", 404, "no such task"), 404)
    with pytest.raises(UpstreamGone):
        await fetched(recorder, found, version="v2")
    recorder.say(query("Queueing"))
    assert (await fetched(recorder, found, version="v1")).facts == {"version": "v1"}
    assert len(recorder.calls) == calls + 2


async def test_a_task_that_v1_does_not_know_is_gone(recorder: Recorder) -> None:
    """V1 calls an id that it does not know bad input; whoever asks for the video is not to blame for that."""
    recorder.say({"task_id": "", **base(2013, "invalid params, task does not exist")})
    with pytest.raises(UpstreamGone, match="does not exist"):
        await fetched(recorder, JOBS["v1"])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (base(1026, "input new_sensitive"), JobError("moderation_blocked", "input new_sensitive")),
        (base("1027", "output new_sensitive"), JobError("moderation_blocked", "output new_sensitive")),
        (base(1008, "insufficient balance"), JobError("insufficient_funds", "insufficient balance")),
        (base(1013, "internal error"), JobError("upstream_failed", "internal error")),
        (base(4242, "what no list has"), JobError("upstream_failed", "what no list has")),
        (base(), JobError("upstream_failed", "The upstream gave no reason.")),
        ({"base_resp": None}, JobError("upstream_failed", "The upstream gave no reason.")),
        (base(1027, ""), JobError("moderation_blocked", "The upstream gave no reason.")),
    ],
)
async def test_failures_of_v1(recorder: Recorder, answer: Any, expected: JobError) -> None:
    """A failed task tells its reason in base_resp, which is then no error of the poll; beside a 0 it tells none."""
    recorder.say({**query("Fail"), **answer})
    job = await fetched(recorder, JOBS["v1"])
    assert (job.status, job.error) == ("failed", expected)


@pytest.mark.parametrize(
    "answers",
    [
        [query("success")],
        [query("")],
        [base()],
        [query("Success", file_id="")],
        [query("Success", file_id=True), retrieved()],
        [query("Success", file_id={"a": 1}), retrieved()],
        [query("Success", file_id="1"), {"task_id": "", **base(2013, "invalid params, file_id")}],
        [done(), retrieved("")],
        [done(), {"file": None, **base()}],
        [done(), retrieved(7)],
        [query("Queueing", **base(1000, "unknown error"))],
        [query("Success", **base("garbage"))],
    ],
)
async def test_odd_polls_of_v1_fail_nothing(recorder: Recorder, answers: list[Any]) -> None:
    """What does not say how the task is, or where its file is, is the upstream's fault."""
    say_in_turn(recorder, *answers)
    with pytest.raises(UpstreamError):
        await fetched(recorder, JOBS["v1"])


# ---------------------------------------------------------------- polls of V2


@pytest.mark.parametrize(
    ("word", "status"),
    [("queued", "queued"), ("running", "in_progress"), ("failed", "failed"), ("cancelled", "failed")],
)
async def test_states_of_v2(recorder: Recorder, word: str, status: str) -> None:
    """A poll has the task in its path, and every state of V2 has one of ours."""
    recorder.say(task(word))
    job = await fetched(recorder, JOBS["v2"])
    assert recorder.last.target == f"/v2/query/video_generation/{NEWER}"
    assert (job.id, job.status, job.url) == (NEWER, status, None)
    await fetched(recorder, UpstreamJob("a/b", facts={"version": "v2"}))
    assert recorder.last.target == "/v2/query/video_generation/a%2Fb"


async def test_the_result_of_v2(recorder: Recorder) -> None:
    """The address is in the poll, for as long as the entry says; the task can be asked for seven days."""
    now = int(time.time())
    recorder.say(task("succeeded", content={"url": FILM}, created_at=now))
    job = await fetched(recorder, JOBS["v2"], link_life=600)
    assert (job.status, job.url, job.expires_at) == ("completed", FILM, now + 7 * 86_400)
    assert abs((job.url_expires_at or 0) - time.time() - 600) < 60
    old = UpstreamJob(NEWER, "completed", url=FILM, url_expires_at=1234.0, facts={"version": "v2"})
    assert (await fetched(recorder, old)).url_expires_at == 1234.0
    for odd in ("yesterday", 0, 1e300, now * 1000, now - 8 * 86_400, True):
        recorder.say(task("succeeded", content={"url": FILM + "&new=1"}, created_at=odd))
        newer = await fetched(recorder, old)
        assert ((newer.url_expires_at or 0) > time.time(), newer.expires_at) == (True, None)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (task("failed", error={"code": "1027", "message": "output."}), JobError("moderation_blocked", "output.")),
        (task("failed", error={"code": 1026, "message": "input."}), JobError("moderation_blocked", "input.")),
        (task("failed", error={"code": "1008", "message": "empty."}), JobError("insufficient_funds", "empty.")),
        (task("failed", error={"code": "internal", "message": "It broke."}), JobError("upstream_failed", "It broke.")),
        (task("failed", error=None), JobError("upstream_failed", "The upstream gave no reason.")),
        (task("failed", error={"message": ["x"]}), JobError("upstream_failed", "The upstream gave no reason.")),
        (task("expired"), JobError("expired", "The upstream let the task expire.")),
        (task("cancelled"), JobError("upstream_failed", "The task was cancelled at the upstream.")),
    ],
)
async def test_failures_of_v2(recorder: Recorder, answer: Any, expected: JobError) -> None:
    """A failed task keeps its sentence; moderation, money and expiry have codes of their own."""
    recorder.say(answer)
    assert (await fetched(recorder, JOBS["v2"])).error == expected


@pytest.mark.parametrize(
    "answer", [task("Success"), {"task": None}, {}, [], task("succeeded"), task("succeeded", content={"url": 7})]
)
async def test_odd_polls_of_v2_fail_nothing(recorder: Recorder, answer: Any) -> None:
    """What does not say how the task is, or where its result is, is the upstream's fault."""
    recorder.say(answer)
    with pytest.raises(UpstreamError):
        await fetched(recorder, JOBS["v2"])


# ---------------------------------------------------------------- the end of a task


@pytest.mark.parametrize("word", ["cancel", "delete"])
async def test_v2_removes_tasks(recorder: Recorder, word: str) -> None:
    """One call cancels what waits and deletes what ended; a refusal of it is told."""
    recorder.say({"task_id": NEWER, "action": f"{word}led"})
    async with opened(recorder) as channel:
        await getattr(channel, word)(JOBS["v2"])
        call = recorder.last
        assert (call.method, call.target, call.body) == ("DELETE", f"/v2/video_generation/{NEWER}", b"")
        recorder.say(error("bad_request_error", 400, "invalid params, the task is running (2013)"), 400)
        with pytest.raises(InvalidRequest, match="is running"):
            await getattr(channel, word)(JOBS["v2"])


@pytest.mark.parametrize("word", ["cancel", "delete"])
async def test_v1_removes_nothing(recorder: Recorder, word: str) -> None:
    """V1 has no such call, and none is made."""
    async with opened(recorder) as channel:
        with pytest.raises(UnsupportedOperation):
            await getattr(channel, word)(JOBS["v1"])
    assert recorder.calls == []


# ---------------------------------------------------------------- refusals


async def refused(recorder: Recorder, wanted: Any) -> ApiError:
    async with opened(recorder) as channel:
        with pytest.raises(ApiError) as caught:
            await channel.create(wanted)
    assert len(recorder.calls) == 1
    return caught.value


@pytest.mark.parametrize(
    ("code", "said", "kind", "outcome", "param"),
    [
        (1002, "rate limit", Throttled, Outcome.REFUSED, None),
        (1039, "TPM limit", Throttled, Outcome.REFUSED, None),
        (1041, "conn limit", Throttled, Outcome.REFUSED, None),
        (2045, "rate growth limit", Throttled, Outcome.REFUSED, None),
        (1004, "login fail", AccountRefused, Outcome.REFUSED, None),
        (1008, "insufficient balance", AccountRefused, Outcome.REFUSED, None),
        (1028, "quota is used up", AccountRefused, Outcome.REFUSED, None),
        (2038, "no real-name check", AccountRefused, Outcome.REFUSED, None),
        (2056, "usage limit exceeded", AccountRefused, Outcome.REFUSED, None),
        (2061, "your plan does not support the model", AccountRefused, Outcome.REFUSED, None),
        (2049, "invalid api key", AccountRefused, Outcome.REFUSED, None),
        (1026, "input new_sensitive", ModerationBlocked, Outcome.CLIENT, None),
        (1027, "output new_sensitive", ModerationBlocked, Outcome.CLIENT, None),
        (2013, "invalid params, duration must be 6", InvalidRequest, Outcome.CLIENT, "seconds"),
        (2013, "model x does not support resolution 512P", InvalidRequest, Outcome.CLIENT, "size"),
        (2013, "invalid params, last_frame_image", InvalidRequest, Outcome.CLIENT, "last_frame"),
        (2013, "invalid params, first_frame_image", InvalidRequest, Outcome.CLIENT, "input_reference"),
        (2013, "invalid params", InvalidRequest, Outcome.CLIENT, None),
        ("2013", "invalid params, prompt", InvalidRequest, Outcome.CLIENT, "prompt"),
        (1000, "unknown error", UpstreamError, Outcome.UNKNOWN, None),
        (1013, "internal error", UpstreamError, Outcome.UNKNOWN, None),
        (1001, "timeout", UpstreamTimeout, Outcome.UNKNOWN, None),
        (4242, "what no list has", UpstreamError, Outcome.UNKNOWN, None),
        ("odd", "what no list has", UpstreamError, Outcome.UNKNOWN, None),
    ],
)
async def test_errors_inside_a_200(
    recorder: Recorder, code: Any, said: str, kind: type[ApiError], outcome: Outcome, param: str | None
) -> None:
    """Each number of V1 is told apart; one that may mean that the task runs leaves the outcome open."""
    recorder.say({"task_id": "", **base(code, said)})
    caught = await refused(recorder, first())
    assert (type(caught), caught.outcome, caught.param) == (kind, outcome, param)
    assert kind in (Throttled, AccountRefused) or said in caught.message


@pytest.mark.parametrize(
    ("status", "name", "said", "kind", "param"),
    [
        (400, "bad_request_error", "invalid params, duration is 99 (2013)", InvalidRequest, "seconds"),
        (400, "bad_request_error", "no number", InvalidRequest, None),
        (400, "bad_request_error", "what no list has (4242)", InvalidRequest, None),
        (401, "authorized_error", "login fail (1004)", AccountRefused, None),
        (402, "insufficient_balance_error", "insufficient balance (1008)", AccountRefused, None),
        (402, "insufficient_balance_error", "insufficient balance", AccountRefused, None),
        (404, "not_found_error", "no such model", UpstreamGone, None),
        (422, "unprocessable_entity_error", "input new_sensitive (1026)", ModerationBlocked, None),
        (422, "unprocessable_entity_error", "no number", InvalidRequest, None),
        (429, "rate_limit_error", "rate limit (1002)", Throttled, None),
        (500, "server_error", "unknown error (1000)", UpstreamError, None),
    ],
)
async def test_errors_of_v2(
    recorder: Recorder, status: int, name: str, said: str, kind: type[ApiError], param: str | None
) -> None:
    """The number in brackets says more than the status, which counts without one; a 500 leaves the outcome open."""
    recorder.say(error(name, status, said), status, Retry_After="17")
    caught = await refused(recorder, second())
    assert (type(caught), caught.param) == (kind, param)
    client = Outcome.CLIENT if issubclass(kind, InvalidRequest) else Outcome.REFUSED
    assert caught.outcome is (Outcome.UNKNOWN if status == 500 else client)
    assert caught.retry_after == (17 if kind is Throttled else None)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1008, "odd"])
async def test_an_order_with_an_id_was_taken(recorder: Recorder, code: Any) -> None:
    """Whatever error stands beside the id of a task, nobody orders it again; its polls tell what became of it."""
    recorder.say({"task_id": TASK, **base(code, "what it says")})
    async with opened(recorder) as channel:
        job = await channel.create(first())
        assert (job.id, job.status) == (TASK, "queued")
        with pytest.raises(UpstreamError):
            await channel.fetch(job)
        recorder.say({"task_id": TASK, **base(2013, "invalid params, no such task")})
        with pytest.raises(UpstreamGone):
            await channel.fetch(job)


@pytest.mark.parametrize("answer", [{"task_id": "", **base()}, base(), {}, {"task_id": None}])
async def test_an_order_without_an_id_is_unknown(recorder: Recorder, answer: Any) -> None:
    """A success without a task may have been taken and paid for."""
    recorder.say(answer)
    caught = await refused(recorder, first())
    assert (type(caught), caught.outcome) == (UpstreamError, Outcome.UNKNOWN)
