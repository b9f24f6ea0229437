"""A job that an operator found is attached: delivered, to the right video, and never twice."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from proxy.engine import inbox as answers
from proxy.engine import recovery
from proxy.errors import ChannelUnavailable, InvalidRequest, Stopping, UpstreamError, UpstreamGone
from proxy.models import JobError, UpstreamJob
from proxy.records import Video
from tests.conftest import Launch
from tests.engine.doubts import (
    BRIEF,
    LOOKUP,
    PENDING,
    PLUGINS,
    audited,
    core_of,
    doubts,
    engine_of,
    failed,
    late,
    only_attempt,
    pending,
    resolve,
    stored,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups come soon."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.02)


async def test_attach_lets_a_pending_video_go_on(launch: Launch) -> None:
    """The same video runs from the upstream's job to its end; there is no second one, and nothing was sent again."""
    product = await launch(PENDING, plugins=PLUGINS)
    channel = product.channel("a")
    video_id = await pending(product)
    before = await only_attempt(product, video_id)
    channel.then("fetch", UpstreamJob(id="found-1", status="in_progress"))
    video, delivered = await resolve(product, video_id, "attach", "found-1")
    assert (video.id, delivered.id, delivered.stage) == (video_id, video_id, "running")
    done = await product.done(video_id)
    assert done["status"] == "completed"
    assert {"replaces_video_id", "replaced_by_video_id"} & set(done) == set()
    assert (await product.call("GET", f"/v1/videos/{video_id}/content"))[1].endswith(b"found-1")
    attempt = await only_attempt(product, video_id)
    assert (attempt.state, attempt.settled, attempt.upstream_id) == ("taken", "attached", "found-1")
    assert (attempt.note, attempt.started_at, attempt.ended_at) == (before.note, before.started_at, before.ended_at)
    assert len(channel.asked("create")) == 1
    assert await doubts(product) == []


async def test_attach_delivers_a_failed_video_as_a_new_one(launch: Launch) -> None:
    """The failed video stays failed (P6); a new one like it, linked both ways, is delivered from the job."""
    product = await launch(BRIEF, plugins=PLUGINS)
    channel = product.channel("a")
    old_id = await failed(product, prompt="a lamp", seconds="8", size="1280x720", metadata={"order": 7})
    old = await stored(product, old_id)
    channel.then("fetch", UpstreamJob(id="found-1", status="in_progress"))
    resolution = await resolve(product, old_id, "attach", "found-1")
    new_id = resolution.delivered_as.id
    assert (resolution.video.status, resolution.video.replaced_by_id) == ("failed", new_id)
    new = await product.done(new_id)
    assert (new["status"], new["replaces_video_id"]) == ("completed", old_id)
    assert (new["prompt"], new["seconds"], new["size"], new["metadata"]) == ("a lamp", "8", "1280x720", {"order": 7})
    assert (await product.call("GET", f"/v1/videos/{new_id}/content"))[1].endswith(b"found-1")
    status, shown, _ = await product.call("GET", f"/v1/videos/{old_id}")
    assert (status, shown["status"], shown["error"]["code"]) == (200, "failed", "outcome_unknown")
    assert shown["replaced_by_video_id"] == new_id
    made = await stored(product, new_id)
    for same in ("tenant", "key_id", "kind", "model", "upstream_model", "channel", "order", "fingerprint", "answered"):
        assert getattr(made, same) == getattr(old, same), same
    attempt = await only_attempt(product, new_id)
    assert (attempt.state, attempt.upstream_id, attempt.note) == ("taken", "found-1", "attached by an operator")
    assert (made.attempt_id, made.error_code, made.error_message) == (attempt.id, None, None)
    doubted = await only_attempt(product, old_id)
    assert (doubted.state, doubted.settled, doubted.upstream_id) == ("unknown", "attached", "found-1")
    assert len(channel.asked("create")) == 1
    assert await doubts(product) == []


async def test_an_attached_video_takes_a_place(launch: Launch) -> None:
    """The upstream works on it, so that it counts towards `max_running` until it ends."""
    product = await launch(BRIEF, plugins=PLUGINS)
    old_id = await failed(product)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="found-1", status="in_progress")] * 2)
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("fetch", going)
    new_id = (await resolve(product, old_id, "attach", "found-1")).delivered_as.id
    assert core_of(product).places["a"] == {new_id}
    going.set_result(UpstreamJob(id="found-1", status="completed"))
    await product.done(new_id)
    assert core_of(product).places["a"] == set()


async def test_an_attached_video_survives_a_restart(launch: Launch) -> None:
    """What was attached is durable: the next process polls it to its end."""
    product = await launch(BRIEF, plugins=PLUGINS)
    old_id = await failed(product)
    product.channel("a").then("fetch", *[UpstreamJob(id="found-1", status="in_progress")] * 1000)
    new_id = (await resolve(product, old_id, "attach", "found-1")).delivered_as.id
    await product.session.close()
    await product.server.close()
    product = await launch(BRIEF, plugins=PLUGINS)
    assert (await product.done(new_id))["status"] == "completed"


@pytest.mark.parametrize("make", [pending, failed])
async def test_no_job_is_delivered_twice(launch: Launch, make: Callable[..., Awaitable[str]]) -> None:
    """An upstream id that another video of the channel has, finished, deleted or attached, is refused; nothing of the
    refused answer stays."""
    product = await launch(PENDING if make is pending else BRIEF, plugins=PLUGINS)
    normal = await product.create()
    taken = (await stored(product, normal["id"])).job
    assert taken is not None
    await product.done(normal["id"])
    attached, video_id = await make(product), await make(product)
    await resolve(product, attached, "attach", "found-1")
    await product.call("DELETE", f"/v1/videos/{normal['id']}")
    for upstream_id in (taken.id, "found-1"):
        with pytest.raises(InvalidRequest, match="already") as refusal:
            await resolve(product, video_id, "attach", upstream_id, force=True)
        assert refusal.value.param == "upstream_id"
    assert [doubt.dossier.video.id for doubt in await doubts(product)] == [video_id]
    assert (await stored(product, video_id)).replaced_by_id is None
    assert [subject for _, _, subject, _ in await audited(product)] == [attached]


async def test_two_operators_attach_one_job_once(launch: Launch) -> None:
    """The same job for two videos at once: one gets it. The same answer for one video at once: one new video."""
    product = await launch(BRIEF, plugins=PLUGINS)
    first, second = await failed(product), await failed(product)
    both = await asyncio.gather(
        *(resolve(product, video_id, "attach", "found-1") for video_id in (first, second)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in both) == ["InvalidRequest", "Resolution"]
    left = first if isinstance(both[0], InvalidRequest) else second
    twice = await asyncio.gather(*(resolve(product, left, "attach", "found-2") for _ in range(2)))
    assert len({one.delivered_as.id for one in twice}) == 1
    assert len(await audited(product)) == 2


async def test_a_job_that_the_upstream_does_not_know_is_refused(launch: Launch) -> None:
    """A typing mistake is told before anything is written; `force` attaches all the same."""
    product = await launch(BRIEF, plugins=PLUGINS)
    channel = product.channel("a")
    video_id = await failed(product)
    channel.then("fetch", UpstreamGone("no such job"))
    with pytest.raises(InvalidRequest, match="has no job with this id") as refusal:
        await resolve(product, video_id, "attach", "mistyped")
    assert (refusal.value.param, await audited(product)) == ("upstream_id", [])
    (asked,) = channel.asked("fetch")
    assert (asked.id, asked.status) == ("mistyped", "queued")
    delivered = (await resolve(product, video_id, "attach", "mistyped", force=True)).delivered_as
    assert (await product.done(delivered.id))["status"] == "completed"
    assert (await audited(product))[0][3]["force"] is True


@pytest.mark.parametrize("make", [pending, failed])
async def test_what_the_upstream_says_when_it_is_asked_counts(
    launch: Launch, make: Callable[..., Awaitable[str]]
) -> None:
    """The video that delivers the job has its status, progress and facts at once."""
    product = await launch(PENDING if make is pending else BRIEF, plugins=PLUGINS)
    video_id = await make(product)
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    job = UpstreamJob(id="found-1", status="in_progress", progress=40, facts={"region": "eu"})
    product.channel("a").then("fetch", job, going)
    delivered = (await resolve(product, video_id, "attach", "found-1")).delivered_as
    assert (delivered.status, delivered.progress, delivered.stage) == ("in_progress", 40, "running")
    assert (await stored(product, delivered.id)).job.facts == {"region": "eu"}
    going.set_result(UpstreamJob(id="found-1", status="completed"))
    assert (await product.done(delivered.id))["status"] == "completed"


@pytest.mark.parametrize("make", [pending, failed])
@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_job_that_has_ended_ends_its_video(
    launch: Launch, make: Callable[..., Awaitable[str]], status: str
) -> None:
    """No further poll is needed, whoever waits for the end hears of it, and a failure does not show the job's id."""
    product = await launch(PENDING if make is pending else BRIEF, plugins=PLUGINS)
    told: list[tuple[str, str]] = []
    handed_over: list[Video] = []
    heard = asyncio.Event()

    async def listen(video: Video, before: str) -> None:
        told.append((video.id, video.status))
        heard.set()

    video_id = await make(product)
    engine_of(product).tell("test", listen)
    engine_of(product).inbox._hand_over = handed_over.append
    error = JobError("upstream_failed", "Job found-1 broke.") if status == "failed" else None
    product.channel("a").then("fetch", UpstreamJob(id="found-1", status=status, error=error))
    delivered = (await resolve(product, video_id, "attach", "found-1")).delivered_as
    assert (delivered.stage, delivered.status) == ("ended", status)
    shown = (await product.call("GET", f"/v1/videos/{delivered.id}"))[1]
    assert shown["status"] == status
    assert "found-1" not in str(shown["error"])
    async with asyncio.timeout(4):
        while (delivered.id, status) not in told:
            heard.clear()
            await heard.wait()
    assert (len(product.channel("a").asked("fetch")), handed_over) == (1, [])
    assert core_of(product).places["a"] == set()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("make", [pending, failed])
async def test_a_job_that_nobody_has_seen_is_queued(
    launch: Launch, make: Callable[..., Awaitable[str]], force: bool
) -> None:
    """Without the upstream's word nothing is claimed that a later one would take back."""
    product = await launch(PENDING if make is pending else BRIEF, plugins=PLUGINS)
    video_id = await make(product)
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", *([] if force else [UpstreamError("HTML")]), going)
    delivered = (await resolve(product, video_id, "attach", "found-1", force=force)).delivered_as
    assert (delivered.stage, delivered.status, delivered.progress) == ("running", "queued", 0)
    going.set_result(UpstreamJob(id="found-1", status="completed"))
    assert (await product.done(delivered.id))["status"] == "completed"


async def test_what_was_known_of_a_late_job_is_kept(launch: Launch) -> None:
    """The upstream is asked with the facts of the job as it took it, and what it says now comes on top."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await late(product)
    attempt = await only_attempt(product, video_id)
    known = UpstreamJob(id="paid", status="in_progress", facts={"region": "eu", "step": 1})
    await core_of(product).store.save_attempt(replace(attempt, job=known))
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", UpstreamJob(id="paid", status="in_progress", facts={"step": 2}), going)
    delivered = (await resolve(product, video_id, "attach", "paid")).delivered_as
    assert product.channel("a").asked("fetch")[0] == known
    assert delivered.job.facts == {"region": "eu", "step": 2}
    going.set_result(UpstreamJob(id="paid", status="completed"))


@pytest.mark.parametrize("word", ["attach", "not_created", "give_up"])
async def test_a_server_that_stops_settles_nothing(launch: Launch, word: str) -> None:
    """The answer is refused before anybody is asked, and may be given again to the next process."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(product)
    core_of(product).closing = True
    with pytest.raises(Stopping) as refusal:
        await resolve(product, video_id, word, "found-1" if word == "attach" else None)
    assert refusal.value.should_retry is not False
    assert product.channel("a").asked("fetch") == []
    assert (len(await doubts(product)), await audited(product)) == (1, [])


async def test_a_server_that_begins_to_stop_settles_nothing(launch: Launch) -> None:
    """Nor does one that stops while the upstream is asked for the job."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(product)
    looking: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", looking)
    answering = asyncio.create_task(resolve(product, video_id, "attach", "found-1"))
    async with asyncio.timeout(10):
        while not product.channel("a").asked("fetch"):
            await asyncio.sleep(0)
    core_of(product).closing = True
    looking.set_result(UpstreamJob(id="found-1", status="in_progress"))
    with pytest.raises(Stopping):
        await answering
    assert (len(await doubts(product)), await audited(product)) == (1, [])


@pytest.mark.parametrize("trouble", [UpstreamError("HTML"), KeyError("a bug"), asyncio.CancelledError()])
async def test_an_upstream_that_cannot_say_holds_nothing_up(launch: Launch, trouble: BaseException) -> None:
    """Whatever else goes wrong when the job is looked at: the polls find out."""
    product = await launch(BRIEF, plugins=PLUGINS)
    video_id = await failed(product)
    product.channel("a").then("fetch", trouble)
    delivered = (await resolve(product, video_id, "attach", "found-1")).delivered_as
    assert (await product.done(delivered.id))["status"] == "completed"


async def test_an_upstream_that_hangs_holds_nothing_up(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at the job has a time limit of its own."""
    monkeypatch.setattr(answers, "CHECK_WITHIN", 0.05)
    product = await launch(BRIEF, plugins=PLUGINS)
    video_id = await failed(product)
    product.channel("a").then("fetch", asyncio.get_running_loop().create_future())
    async with asyncio.timeout(10):
        delivered = (await resolve(product, video_id, "attach", "found-1")).delivered_as
    assert delivered is not None


@pytest.mark.parametrize("upstream_id", [None, "", "x" * 513, "two words", "line\nbreak", "\x1b[2J", "caf\u00e9\u00a0"])
async def test_malformed_upstream_ids_are_refused(launch: Launch, upstream_id: str | None) -> None:
    """1 to 512 printable characters without a space; the message says so before anybody is asked."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(product)
    with pytest.raises(InvalidRequest) as refusal:
        await resolve(product, video_id, "attach", upstream_id, force=True)
    assert refusal.value.param == "upstream_id"
    assert product.channel("a").asked("fetch") == []
    await resolve(product, video_id, "attach", "x" * 512)


async def test_attach_needs_the_channel(launch: Launch) -> None:
    """Without its channel a job cannot be delivered: told as such; the two other answers need no channel."""
    product = await launch(BRIEF, plugins=PLUGINS)
    first, second = await failed(product), await failed(product)
    await core_of(product).channels.apply([])
    with pytest.raises(ChannelUnavailable, match=r"channels\.yaml"):
        await resolve(product, first, "attach", "found-1", force=True)
    await resolve(product, first, "not_created")
    await resolve(product, second, "give_up")
    assert await doubts(product) == []


async def test_another_process_may_be_asked(launch: Launch) -> None:
    """A pending video that one process holds is attached at another: the one that holds it polls it to its end."""
    first = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(first)
    second = await launch(PENDING, plugins=PLUGINS)
    second.channel("a").then("fetch", UpstreamJob(id="found-1", status="in_progress"))
    await resolve(second, video_id, "attach", "found-1")
    assert (await second.done(video_id))["status"] == "completed"
    assert {job.id for job in first.channel("a").asked("fetch")} == {"found-1"}
    assert len(second.channel("a").asked("fetch")) == 1


async def test_a_look_up_that_was_faster_wins(launch: Launch) -> None:
    """While the operator's job was looked at the channel found its own: the video goes on with that one only."""
    product = await launch(LOOKUP, plugins=PLUGINS)
    channel = product.channel("a")
    looking: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    found: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("recover", found)
    video_id = await pending(product)
    channel.then("fetch", looking)
    answering = asyncio.create_task(resolve(product, video_id, "attach", "by-hand"))
    async with asyncio.timeout(10):
        while not channel.asked("fetch"):
            await asyncio.sleep(0)
    found.set_result(UpstreamJob(id="looked-up", status="in_progress"))
    await product.done(video_id)
    looking.set_result(UpstreamJob(id="by-hand", status="in_progress"))
    with pytest.raises(InvalidRequest, match="not in doubt"):
        await answering
    job = (await stored(product, video_id)).job
    assert job is not None
    assert (job.id, await audited(product)) == ("looked-up", [])


async def test_a_video_that_failed_meanwhile_is_replaced(launch: Launch) -> None:
    """The grace time passed while the job was looked at: the answer holds, by a new video."""
    product = await launch(PENDING.replace("3600", "0.3"), plugins=PLUGINS)
    channel = product.channel("a")
    video_id = await pending(product)
    looking: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("fetch", looking)
    answering = asyncio.create_task(resolve(product, video_id, "attach", "found-1"))
    await product.done(video_id)
    looking.set_result(UpstreamJob(id="found-1", status="in_progress"))
    delivered = (await answering).delivered_as
    assert delivered.id != video_id
    assert (await product.done(delivered.id))["replaces_video_id"] == video_id
