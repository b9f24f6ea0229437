"""plugins/fal.py: what it reads out of answers, good and bad ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

import plugins._fal_answers
from plugins._fal_answers import DOUBTED
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
)
from proxy.testing import SimulatorServer
from proxy.upstream import submission
from tests.plugins.fal_wire import (
    FILM,
    JOB,
    KEY,
    addresses,
    issue,
    job,
    opened,
    request,
    say_in_turn,
    taken,
    taking,
)
from tests.plugins.openai_oracle import Recorder
from tests.simulators.fal import FalSimulator

DONE = {"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 1.0}}
RESULT = {"video": {"url": FILM, "content_type": "video/mp4", "file_name": "x.mp4", "file_size": 7}}
POLICY = issue("content_policy_violation", "The content was flagged.", "prompt")


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def polled(recorder: Recorder, *answers: Any, status: str = "in_progress") -> UpstreamJob:
    """What a poll makes of `answers`."""
    say_in_turn(recorder, *answers)
    async with opened(recorder) as channel:
        told = await channel.fetch(job(recorder, status))
    assert (told.id, told.facts) == (JOB, addresses(recorder.base_url))
    return told


# ---------------------------------------------------------------- polls


@pytest.mark.parametrize("http", [200, 202, 206])
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"status": "IN_QUEUE", "queue_position": 3}, "queued"),
        ({"status": "IN_QUEUE"}, "queued"),
        ({"status": "IN_PROGRESS", "logs": None}, "in_progress"),
        ({"status": "FAILED", "error": "The lamp went out."}, "failed"),
        ({"status": "CANCELED"}, "failed"),
        ({"status": "CANCELLED", "error": ["x"]}, "failed"),
    ],
)
async def test_states(recorder: Recorder, http: int, answer: Any, status: str) -> None:
    """Every state is told as ours, whatever 2xx the answer has; before the end nobody asks for the result."""
    told = await polled(recorder, (http, answer))
    assert told.status == status
    assert (told.error is None) == (status != "failed")
    (call,) = recorder.calls
    assert (call.method, call.target) == ("GET", f"/fal-ai/veo3.1/requests/{JOB}/status")


async def test_a_result_has_an_address(recorder: Recorder) -> None:
    """A job that ended is completed once its result has the film."""
    told = await polled(recorder, (202, DONE), RESULT)
    assert (told.status, told.url, told.progress) == ("completed", FILM, 100)
    assert [call.target for call in recorder.calls] == [
        f"/fal-ai/veo3.1/requests/{JOB}/status",
        f"/fal-ai/veo3.1/requests/{JOB}",
    ]


async def test_a_completed_job_is_asked_for_its_result_alone(recorder: Recorder) -> None:
    """The address of a result is asked for anew without a look at the status."""
    told = await polled(recorder, RESULT, status="completed")
    assert (told.status, told.url, len(recorder.calls)) == ("completed", FILM, 1)


@pytest.mark.parametrize(
    ("status", "data", "error"),
    [
        (422, POLICY, JobError("moderation_blocked", "The content was flagged.")),
        (
            422,
            {"detail": ["x", {"loc": 7}, *POLICY["detail"]]},
            JobError("moderation_blocked", "The content was flagged."),
        ),
        (422, issue("no_media_generated", "Nothing came of it.", "prompt"), "Nothing came of it."),
        (422, issue("file_download_error", "Failed to download.", "image_url"), "Failed to download."),
        (500, issue("internal_server_error", "It crashed."), "It crashed."),
        (504, issue("generation_timeout", "It took too long."), "It took too long."),
        (504, {"detail": "Request timed out", "error_type": "request_timeout"}, "Request timed out"),
        (400, {"detail": "Wrong shape", "error_type": "bad_request"}, "Wrong shape"),
        (422, {"detail": "Wrong shape"}, "Wrong shape"),
    ],
)
async def test_a_run_that_failed(recorder: Recorder, status: int, data: Any, error: Any) -> None:
    """COMPLETED and an error with fal's detail where the result would be is a failure, with its sentence."""
    told = await polled(recorder, DONE, (status, data))
    assert told.status == "failed"
    assert told.error == (error if isinstance(error, JobError) else JobError("upstream_failed", error))


MERE: tuple[tuple[Any, str], ...] = (
    ((503, {"detail": "Service temporarily unavailable"}), "Service temporarily unavailable"),
    ((500, {"detail": "Internal Server Error"}), "Internal Server Error"),
    ((504, {"detail": "Request timed out"}), "Request timed out"),
    ((499, {"detail": "Request was cancelled"}), "Request was cancelled"),
    ((400, {"detail": "Request has not ended"}), "Request has not ended"),
    ({"video": None}, "The upstream says that the run is done, but its result has no video."),
    ({"images": []}, "The upstream says that the run is done, but its result has no video."),
)


@pytest.mark.parametrize(("answer", "sentence"), MERE)
async def test_a_mere_sentence_may_be_an_outage(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, answer: Any, sentence: str
) -> None:
    """A failure without a type, and a result without a film, fail a paid video only if they are told for long."""
    clock = [1000.0]
    monkeypatch.setattr(plugins._fal_answers, "time", SimpleNamespace(time=lambda: clock[0]))
    again = [DONE, answer] * 3
    say_in_turn(recorder, *again, DONE, (400, {"detail": "Request is still in progress"}), DONE, answer, DONE, RESULT)
    async with opened(recorder) as channel:
        told = await channel.fetch(job(recorder))
        assert (told.status, told.error) == ("in_progress", None)
        clock[0] += DOUBTED - 1
        with pytest.raises(ApiError, match=sentence):
            await channel.fetch(told)
        clock[0] += 2
        assert (await channel.fetch(told)).error == JobError("upstream_failed", sentence)
        # Whatever else is said meanwhile begins the time anew.
        told = await channel.fetch(await channel.fetch(told))
        assert told.status == "in_progress"
        assert (await channel.fetch(told)).url == FILM


@pytest.mark.parametrize(
    "answer",
    [(403, {"detail": "No"}), (404, {"detail": "No"}), (429, {}), (500, b"<html>"), (400, {"detail": "No"}), {}],
)
async def test_a_status_that_tells_of_an_error_is_believed(recorder: Recorder, answer: Any) -> None:
    """A run may fail with the status of a call that was refused: what its status says of it counts then."""
    told = await polled(recorder, {**DONE, "error": "No", "error_type": "runner_server_error"}, answer)
    assert (told.status, told.error) == ("failed", JobError("upstream_failed", "No"))
    told = await polled(recorder, {**DONE, "error": "Flagged", "error_type": "content_policy_violation"}, (403, {}))
    assert told.error == JobError("moderation_blocked", "Flagged")
    assert (await polled(recorder, {**DONE, "error": "No"}, RESULT)).url == FILM


async def test_the_type_may_be_in_a_header(recorder: Recorder) -> None:
    """A failure whose detail is a sentence has its type in `x-fal-error-type`; a status has it in `error_type`."""
    told = await polled(recorder, {"status": "FAILED", "error": "Flagged.", "error_type": "content_policy_violation"})
    assert told.error == JobError("moderation_blocked", "Flagged.")
    recorder.say({"detail": "Flagged."}, 422, x_fal_error_type="content_policy_violation")
    async with opened(recorder) as channel:
        told = await channel.fetch(job(recorder, "completed"))
    assert told.error == JobError("moderation_blocked", "Flagged.")


async def test_a_result_that_is_not_there_yet(recorder: Recorder) -> None:
    """A result that fal says to be under way is no failure."""
    told = await polled(recorder, DONE, (400, {"detail": "Request is still in progress"}))
    assert (told.status, told.error) == ("in_progress", None)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((500, b"<html>Bad gateway</html>"), UpstreamError),
        ((502, b""), UpstreamError),
        ((503, {}), UpstreamError),
        ((504, {"error": "Gateway timeout"}), UpstreamError),
        ((500, {"detail": None}), UpstreamError),
        ((500, {"detail": []}), UpstreamError),
        ((500, {"detail": {"msg": "x"}}), UpstreamError),
        ((422, b"<html>"), InvalidRequest),
        ((401, {"detail": "Bad key"}), AccountRefused),
        ((403, {"detail": "User is locked"}), AccountRefused),
        ((404, {"detail": "Request not found"}), UpstreamGone),
        ((429, {"detail": "Too many"}), Throttled),
        ((302, b""), UpstreamError),
        ({"video": {"url": 7}}, UpstreamError),
        ([], UpstreamError),
        ((200, b"not json"), UpstreamError),
    ],
)
async def test_a_bad_answer_fails_no_video(recorder: Recorder, answer: Any, kind: type[ApiError]) -> None:
    """Where the result's own address does not say that the run failed, the job is asked about again."""
    with pytest.raises(kind):
        await polled(recorder, DONE, answer)


@pytest.mark.parametrize("kind", ["reset_before_reply", "cut_body", "html_502", "empty_200", "redirect_307"])
async def test_a_result_that_breaks_off_fails_no_video(kind: str) -> None:
    """Where no whole answer comes about the result, the job is asked about again, and is completed then."""
    async with SimulatorServer(FalSimulator(keys={KEY})) as sim, opened(sim) as channel:
        made = await channel.create(request(prompt="a kite"))
        sim.finish(made.id)
        ended = UpstreamJob(made.id, "completed", facts=made.facts)
        sim.fault(kind, on="fetch", times=None)
        with pytest.raises(UpstreamError):
            await channel.fetch(ended)
        sim.calm()
        assert (await channel.fetch(ended)).url == sim.file_url(sim.latest)


@pytest.mark.parametrize("state", ["DAYDREAMING", None, 7, ["COMPLETED"], {}])
async def test_a_state_that_nobody_knows_is_an_error(recorder: Recorder, state: Any) -> None:
    """An unknown state neither completes nor fails a video."""
    with pytest.raises(UpstreamError):
        await polled(recorder, {"status": state})


# ---------------------------------------------------------------- addresses


async def test_a_gateway_may_stand_before_the_queue(recorder: Recorder) -> None:
    """Where fal names itself and the entry a gateway, the paid job is followed through the gateway, with its prefix."""
    prefix = f"{recorder.base_url}/gate"
    recorder.say(taken("https://queue.fal.run"))
    async with opened(recorder, base_url=prefix) as channel:
        made = await channel.create(request())
        say_in_turn(recorder, DONE, RESULT, {})
        assert (await channel.fetch(made)).url == FILM
        await channel.cancel(made)
    place = f"/gate/fal-ai/veo3.1/requests/{JOB}"
    assert [call.target for call in recorder.calls[1:]] == [f"{place}/status", place, f"{place}/cancel"]


@pytest.mark.parametrize("key", ["status_url", "response_url"])
@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.com/requests/1",
        "http://127.0.0.1:9/requests/1",
        f"https://elsewhere.example.com/requests/{JOB}x/status",
        f"https://elsewhere.example.com/a/../requests/{JOB}/status",
        "file:///etc/passwd",
        "http://user:word@127.0.0.1/x",
        None,
        "",
        7,
        ["x"],
    ],
)
async def test_a_foreign_address_is_refused(recorder: Recorder, key: str, url: Any) -> None:
    """An address that is not the queue's own is refused at once, the job may run, and the key goes nowhere."""
    recorder.say({**taken(recorder.base_url), key: url})
    async with opened(recorder) as channel:
        with submission(), pytest.raises(UpstreamError) as caught:
            await channel.create(request())
        assert caught.value.outcome is Outcome.UNKNOWN
        assert len(recorder.calls) == 1
        facts = {**addresses(recorder.base_url), key: url}
        with pytest.raises(UpstreamError):
            await channel.fetch(UpstreamJob(JOB, "in_progress" if key == "status_url" else "completed", facts=facts))
    assert len(recorder.calls) == 1


async def test_a_job_without_facts_is_an_error(recorder: Recorder) -> None:
    """Addresses are never made from the job's id."""
    async with opened(recorder) as channel:
        for call in (channel.fetch, channel.cancel):
            with pytest.raises((UpstreamError, UnsupportedOperation)):
                await call(UpstreamJob(JOB))
    assert recorder.calls == []


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (202, {"status": "CANCELLATION_REQUESTED"}),
        (400, {"status": "ALREADY_COMPLETED"}),
        (409, {"status": "ALREADY_COMPLETED"}),
    ],
)
async def test_cancel(recorder: Recorder, status: int, data: Any) -> None:
    """A cancellation is a PUT without a body; what has ended needs none."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        await channel.cancel(job(recorder))
    assert (recorder.last.method, recorder.last.target) == ("PUT", f"/fal-ai/veo3.1/requests/{JOB}/cancel")
    assert recorder.last.body == b""


@pytest.mark.parametrize(("status", "kind"), [(404, UpstreamGone), (500, UpstreamError), (400, InvalidRequest)])
async def test_a_cancel_that_fails_says_so(recorder: Recorder, status: int, kind: type[ApiError]) -> None:
    """Every other answer to a cancellation is an error."""
    recorder.say({"detail": "No."}, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind):
            await channel.cancel(job(recorder))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "data", "kind", "message", "param"),
    [
        (422, POLICY, ModerationBlocked, "The content was flagged.", "prompt"),
        (422, issue("literal_error", "Input should be '4s'", "duration"), InvalidRequest, "should be '4s'", "seconds"),
        (422, issue("missing", "Field required", "start_image_url"), InvalidRequest, "required", "input_reference"),
        (422, issue("image_too_small", "Too small.", "end_image_url"), InvalidRequest, "Too small", "last_frame"),
        (422, issue("x", "Hm.", "cfg_scale"), InvalidRequest, "Hm.", None),
        (422, {"detail": [{"msg": "Hm.", "loc": ["body", 7]}]}, InvalidRequest, "Hm.", None),
        (400, {"detail": "Bad JSON"}, InvalidRequest, "Bad JSON", None),
        (401, {"detail": "Bad key"}, AccountRefused, "credentials", None),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, AccountRefused, "operator", None),
        (404, {"detail": "Application 'x' not found"}, UpstreamGone, "not found", None),
        (429, {"detail": "Too many"}, Throttled, "too busy", None),
        (500, {"detail": "It crashed."}, UpstreamError, "It crashed.", None),
        (502, {"status": "ALREADY_COMPLETED"}, UpstreamError, "HTTP 502", None),
        (504, {}, UpstreamError, "timed out", None),
    ],
)
async def test_refusals(
    recorder: Recorder, status: int, data: Any, kind: type[ApiError], message: str, param: str | None
) -> None:
    """Moderation, bad input, an empty account, a wrong key, a busy queue and an outage are told apart."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=message) as caught:
            await channel.create(request())
    assert caught.value.param == param
    client, unknown = issubclass(kind, InvalidRequest), status >= 500
    assert caught.value.outcome is (Outcome.CLIENT if client else Outcome.UNKNOWN if unknown else Outcome.REFUSED)
    assert len(recorder.calls) == 1


async def test_neither_half_of_the_key_is_told(recorder: Recorder) -> None:
    """A sentence of fal's that repeats the key, or half of it, reaches nobody with it."""
    recorder.say({"detail": f"No such user {KEY} ({' '.join(KEY.split(':'))})"}, 422)
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            await channel.create(request())
    assert not [half for half in (KEY, *KEY.split(":")) if half in str(caught.value)]
