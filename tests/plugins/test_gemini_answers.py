"""plugins/gemini.py: what it reads out of answers, good and bad ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from plugins.gemini import FILE_LIFE, GOOGLE
from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Source,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
)
from proxy.testing import SimulatorServer
from tests.plugins.gemini_wire import (
    KEY,
    OPERATION,
    TASK,
    URI,
    error,
    film,
    interaction,
    opened,
    operation,
    request,
    say_in_turn,
    taking,
    veo,
)
from tests.plugins.openai_oracle import Recorder
from tests.simulators.gemini import GeminiSimulator

JOB, OLD_JOB = UpstreamJob(TASK), UpstreamJob(OPERATION)
SAFETY = "The video was blocked by Google's safety filters. Support codes: 58061214."


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def fetched(recorder: Recorder, *answers: Any, job: UpstreamJob = JOB, **options: Any) -> UpstreamJob:
    """What a poll makes of `answers`."""
    say_in_turn(recorder, *answers)
    async with opened(recorder, **options) as channel:
        found = await channel.fetch(job)
    assert found.id == job.id
    return found


# ---------------------------------------------------------------- interactions


async def test_a_file_must_be_ready(recorder: Recorder) -> None:
    """A finished interaction is finished once its file is ACTIVE; the file lives for two days."""
    done = interaction("completed", film(uri=URI))
    states = {}
    for state in ("PROCESSING", "ACTIVE", "FAILED"):
        states[state] = await fetched(recorder, done, {"name": "files/abc123", "state": state})
    assert [call.target for call in recorder.calls[:2]] == [f"/v1beta/interactions/{TASK}", "/v1beta/files/abc123"]
    assert [job.status for job in states.values()] == ["in_progress", "completed", "failed"]
    assert states["FAILED"].error == JobError("upstream_failed", "The upstream could not finish the video's file.")
    ready = states["ACTIVE"]
    assert ready.facts == {"uri": URI}
    assert ready.expires_at is not None
    assert abs(ready.expires_at - time.time() - FILE_LIFE) < 60


async def test_a_known_end_stays(recorder: Recorder) -> None:
    """A film that is asked for again does not live longer for that."""
    known = UpstreamJob(TASK, "completed", expires_at=2_000_000_000)
    found = await fetched(recorder, interaction("completed", film(uri=URI)), {"state": "ACTIVE"}, job=known)
    assert found.expires_at == 2_000_000_000


async def test_a_file_says_why_it_failed(recorder: Recorder) -> None:
    """The status of a file that failed is the video's error."""
    broken = {"state": "FAILED", "error": {"code": 13, "message": "The file files/abc123 broke."}}
    found = await fetched(recorder, interaction("completed", film(uri=URI)), broken)
    assert found.error == JobError("upstream_failed", "The file [id] broke.")


@pytest.mark.parametrize("state", ["STATE_UNSPECIFIED", None, 7, {}])
async def test_an_odd_file_fails_nothing(recorder: Recorder, state: Any) -> None:
    """A file in a state that nobody knows is an error of the upstream's."""
    with pytest.raises(UpstreamError, match="state"):
        await fetched(recorder, interaction("completed", film(uri=URI)), {"state": state})


async def test_the_last_film_of_the_last_turn(recorder: Recorder) -> None:
    """Where an edit shows the turns before it too, or the model several films, the result is what the SDK takes."""
    turns = (
        [film(uri="https://cdn.example.com/source.mp4")],
        [film(uri="https://cdn.example.com/draft.mp4"), film(uri=URI)],
    )
    steps: list[dict[str, Any]] = []
    for content in turns:
        steps += [{"type": "user_input", "content": []}, {"type": "model_output", "content": content}]
    found = await fetched(recorder, interaction("completed", steps=steps), {"state": "ACTIVE"})
    assert found.facts["uri"] == URI
    steps[-1] = {"type": "model_output", "error": {"code": 3, "message": SAFETY}}
    found = await fetched(recorder, interaction("completed", steps=steps))
    assert found.error == JobError("moderation_blocked", SAFETY)


async def test_an_address_that_is_no_file_is_ready(recorder: Recorder) -> None:
    """A gateway may keep films elsewhere, where no state is asked for."""
    found = await fetched(recorder, interaction("completed", film(uri="https://cdn.example.com/a.mp4?sig=1")))
    assert (found.status, found.facts["uri"]) == ("completed", "https://cdn.example.com/a.mp4?sig=1")
    assert len(recorder.calls) == 1


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            interaction("completed", steps=[{"type": "model_output", "error": {"code": 3, "message": SAFETY}}]),
            JobError("moderation_blocked", SAFETY),
        ),
        (
            interaction("failed", errors=[7, {"code": "PROHIBITED_CONTENT", "message": "Not this one."}]),
            JobError("moderation_blocked", "Not this one."),
        ),
        (
            interaction("failed", errors=[{"code": "internal", "message": "Broke at interactions/v1_x."}]),
            JobError("upstream_failed", "Broke at [id]"),
        ),
        (
            interaction("completed", {"type": "text", "text": "I cannot make that: it is against our content policy."}),
            JobError("moderation_blocked", "I cannot make that: it is against our content policy."),
        ),
        (interaction("cancelled"), JobError("upstream_failed", "The upstream says that the video is cancelled.")),
        (interaction("incomplete"), JobError("upstream_failed", "The upstream says that the video is incomplete.")),
        (
            interaction("budget_exceeded"),
            JobError("upstream_failed", "The upstream says that the video is budget exceeded."),
        ),
        (
            interaction("failed", film(uri=URI)),
            JobError("upstream_failed", "The upstream says that the video is failed."),
        ),
    ],
)
async def test_an_interaction_that_failed(recorder: Recorder, answer: Any, found: JobError) -> None:
    """An error of a step or of the interaction, or a refusal in words, fails the video with its sentence."""
    job = await fetched(recorder, answer)
    assert (job.status, job.error) == ("failed", found)


@pytest.mark.parametrize(
    "steps",
    [
        None,
        7,
        [7, {"type": "model_output"}, {"type": "model_output", "content": [7, {"type": "video"}]}],
        [{"type": "model_output", "content": [film(uri="javascript:alert(1)")]}],
        [{"type": "model_output", "content": [{"type": "video", "data": 7, "uri": ["x"]}], "error": {}}],
        [{"type": "user_input", "content": [film(uri=URI)]}],
    ],
)
async def test_completed_without_a_film_fails_nothing(recorder: Recorder, steps: Any) -> None:
    """A completed interaction with neither a film of the model's nor a reason is an error of the upstream's."""
    with pytest.raises(UpstreamError, match="neither"):
        await fetched(recorder, interaction("completed", steps=steps))


async def test_a_film_after_words_and_beside_an_error(recorder: Recorder) -> None:
    """A film is there whatever stands beside it: a thought, a sentence, an error of another step."""
    done = interaction("completed", {"type": "text", "text": "Here it is."}, film(data="AAAA"), errors=[{"code": 13}])
    found = await fetched(recorder, done)
    assert (found.status, found.error, found.film, found.facts) == ("completed", None, None, {})


async def test_a_long_film_within_the_answer_is_kept(recorder: Recorder) -> None:
    """A poll that brings the film puts it into a file; content() asks for it again."""
    long = film(data="AAAA" * 100_000)
    found = await fetched(recorder, interaction("completed", long), delivery="inline")
    assert found.film is not None
    assert found.film.size == 300_000
    recorder.say(interaction("completed", long))
    async with opened(recorder, delivery="inline") as channel:
        source = await channel.content(found, "video")
    assert source.spooled is not None
    assert source.spooled.size == 300_000


async def test_a_short_film_is_decoded(recorder: Recorder) -> None:
    """Base64 that is too short for a file is decoded; what is none, or not there any more, is an error."""
    done = UpstreamJob(TASK, "completed")
    async with opened(recorder) as channel:
        recorder.say(interaction("completed", film(data="AAAA")))
        assert await channel.content(done, "video") == Source(data=b"\0\0\0")
        for data in ("***", "é"):
            recorder.say(interaction("completed", film(data=data)))
            with pytest.raises(UpstreamError, match="broken"):
                await channel.content(done, "video")
        recorder.say(interaction("completed"))
        with pytest.raises(UpstreamError, match="no video"):
            await channel.content(done, "video")
        with pytest.raises(UnsupportedOperation):
            await channel.content(done, "thumbnail")


async def test_an_answer_that_came_at_once_is_polled(recorder: Recorder) -> None:
    """An upstream that holds the order open until the film is there is asked for it like every other."""
    recorder.say(interaction("completed", film(data="AAAA" * 3_000_000)))
    async with opened(recorder) as channel:
        job = await channel.create(request())
    assert (job.id, job.status, job.film) == (TASK, "queued", None)


# ---------------------------------------------------------------- operations


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"name": OPERATION}, "in_progress"),
        ({"name": OPERATION, "done": False, "metadata": {}}, "in_progress"),
        (operation({"generatedSamples": [{"video": {"uri": URI}}]}), "completed"),
        (operation({"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [SAFETY]}), "failed"),
        (operation(error={"code": 13, "message": "It broke."}), "failed"),
    ],
)
async def test_operations(recorder: Recorder, answer: Any, status: str) -> None:
    """An operation runs until it is done, whatever shape the entry has now; a film that was held back has failed."""
    job = await fetched(recorder, answer, job=OLD_JOB)
    assert recorder.last.target == f"/v1beta/{OPERATION}"
    assert job.status == status
    assert job.facts == ({"uri": URI} if status == "completed" else {})
    codes = {"raiMediaFilteredCount": "moderation_blocked"}
    if isinstance(job.error, JobError):
        assert job.error.code == ("upstream_failed" if "error" in answer else codes["raiMediaFilteredCount"])


@pytest.mark.parametrize(
    "answer",
    [
        operation(),
        operation({"generatedSamples": []}),
        operation({"generatedSamples": [{"video": {"uri": 7}}], "raiMediaFilteredCount": 0}),
        operation({"generatedVideos": [{"video": {"uri": URI}}]}),
        operation(7, error="odd"),
        operation(done="yes", error={"code": 13, "message": "It broke."}),
        {"done": True},
    ],
)
async def test_an_odd_operation_fails_nothing(recorder: Recorder, answer: Any) -> None:
    """Done with neither a film nor a reason, and what is no operation, are errors of the upstream's."""
    with pytest.raises(UpstreamError):
        await fetched(recorder, answer, job=OLD_JOB)


async def test_a_gateway_names_its_operations(recorder: Recorder) -> None:
    """What was ordered as a prediction is asked for as one, whatever its name looks like."""
    async with opened(recorder, shape="predict") as channel:
        say_in_turn(recorder, {"name": "task-77"}, {"name": "task-77"})
        assert (await channel.fetch(await channel.create(veo()))).status == "in_progress"
    assert recorder.last.target == "/v1beta/task-77"


async def test_a_name_stays_below_the_api(recorder: Recorder) -> None:
    """A name that leads elsewhere is not followed."""
    async with opened(recorder) as channel:
        for name in ("models/x/operations/../../files/abc", "operations/%2e%2e/x?key=1#"):
            try:
                await channel.fetch(UpstreamJob(name))
            except UpstreamError:
                continue
    assert all(call.target.startswith("/v1beta/operations/") and "?" not in call.target for call in recorder.calls)


# ---------------------------------------------------------------- results


async def test_a_film_of_google_comes_by_the_gateway(recorder: Recorder) -> None:
    """Google's own address is asked for at the channel's base; another one as it is, and never with the key."""
    async with opened(recorder) as channel:
        source = await channel.content(UpstreamJob(TASK, "completed", facts={"uri": URI}), "video")
        assert source.url == f"{recorder.base_url}/v1beta/files/abc123:download?alt=media"
        assert source.headers == {"x-goog-api-key": KEY}
        recorder.say(b"film")
        async with channel.upstream.open(source):
            assert recorder.last.headers["x-goog-api-key"] == KEY
        elsewhere = recorder.base_url.replace("127.0.0.1", "localhost")
        other = await channel.content(UpstreamJob(TASK, "completed", facts={"uri": f"{elsewhere}/a.mp4"}), "video")
        assert other.url == f"{elsewhere}/a.mp4"
        alike = f"{GOOGLE}.example.com/v1beta/files/abc123:download"
        assert (await channel.content(UpstreamJob(TASK, "completed", facts={"uri": alike}), "video")).url == alike
        with pytest.raises(UpstreamError):
            async with channel.upstream.open(other):
                pass
    assert recorder.last.target.startswith("/v1beta/files/")


async def test_a_whole_life() -> None:
    """A video is queued, runs, runs on while its file is processed, and is there."""
    async with SimulatorServer(GeminiSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.redirects = False
        job = await channel.create(request(seconds=5))
        seen = []
        while job.status != "completed":
            job = await channel.fetch(job)
            seen.append(job.status)
        assert seen == ["queued", "in_progress", "in_progress", "completed"]
        async with channel.upstream.open(await channel.content(job, "video")) as response:
            assert await response.read() == sim.content_of(sim.latest)


async def test_deleting_takes_the_file_along(recorder: Recorder) -> None:
    """A deleted video is no file and no interaction any more; a file that has had its time does not matter."""
    job = UpstreamJob(TASK, "completed", facts={"uri": URI})
    gone = "You do not have permission to access the File abc123 or it may not exist."
    async with opened(recorder) as channel:
        recorder.say({})
        await channel.delete(job)
        targets = ["/v1beta/files/abc123", f"/v1beta/interactions/{TASK}"]
        assert [(call.method, call.target) for call in recorder.calls] == [("DELETE", target) for target in targets]
        for status in (404, 403):
            answers = iter([web.json_response(error(status, gone, "X"), status=status), web.json_response({})])
            recorder.answer = lambda answers=answers: next(answers)  # type: ignore[misc]
            await channel.delete(job)
        assert recorder.last.target == targets[1]
        recorder.calls.clear()
        await channel.delete(UpstreamJob(OPERATION, "failed"))
        assert recorder.calls == []


async def test_cancelling_costs_nothing(recorder: Recorder) -> None:
    """A running interaction is cancelled by its own path."""
    recorder.say(interaction("cancelled"))
    async with opened(recorder) as channel:
        await channel.cancel(JOB)
    assert (recorder.last.method, recorder.last.target) == ("POST", f"/v1beta/interactions/{TASK}/cancel")


# ---------------------------------------------------------------- refusals

INVALID_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


def blames(field: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [7, {"field": field}]}


@pytest.mark.parametrize("shape", ["interactions", "predict"])
@pytest.mark.parametrize(
    ("answer", "kind", "param"),
    [
        (error(400, "Bad ratio.", "INVALID_ARGUMENT", blames("response_format.aspect_ratio")), InvalidRequest, "size"),
        (error(400, "Bad.", "INVALID_ARGUMENT", blames("parameters.durationSeconds")), InvalidRequest, "seconds"),
        (error(400, "Bad.", "INVALID_ARGUMENT", blames("instances[0].lastFrame")), InvalidRequest, "last_frame"),
        (error(400, "Bad.", "INVALID_ARGUMENT", blames("x.referenceImages[1]")), InvalidRequest, "input_reference"),
        (error(400, "Bad.", "INVALID_ARGUMENT", blames("x"), blames(7), 7), InvalidRequest, None),
        (error(400, "The prompt violates our usage guidelines.", "INVALID_ARGUMENT"), ModerationBlocked, None),
        ({"error": {"code": "content_policy", "message": "No."}}, ModerationBlocked, None),
        (error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), AccountRefused, None),
        (error(400, "What?", "INVALID_ARGUMENT", INVALID_KEY), AccountRefused, None),
        (error(400, "Billing is off.", "FAILED_PRECONDITION"), AccountRefused, None),
        (error(401, "Who?", "UNAUTHENTICATED"), AccountRefused, None),
        (error(403, "No.", "PERMISSION_DENIED"), AccountRefused, None),
        (error(404, "models/veo is no longer available.", "NOT_FOUND"), UpstreamGone, None),
        (error(429, "Slow down.", "RESOURCE_EXHAUSTED", 7, {"retryDelay": "37s"}), Throttled, None),
        (error(503, "Overloaded.", "UNAVAILABLE"), UpstreamError, None),
    ],
)
async def test_refusals(recorder: Recorder, shape: str, answer: Any, kind: type[ApiError], param: str | None) -> None:
    """Moderation, bad input, the key, the account, a model that is gone, throttling and an outage are told apart."""
    code = answer["error"]["code"]
    recorder.say(answer, status=code if isinstance(code, int) else 400)
    async with opened(recorder, shape=shape) as channel:
        with pytest.raises(kind) as caught:
            await channel.create(request() if shape == "interactions" else veo())
    assert type(caught.value) is kind
    assert caught.value.param == param
    assert caught.value.retry_after == (37.0 if kind is Throttled else None)
    assert len(recorder.calls) == 1
