"""The same request twice is one video: Idempotency-Keys, and what the official SDKs send again without one."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import FormData

from proxy.engine import engine as engine_module
from proxy.errors import InvalidRequest
from proxy.ids import created_at
from proxy.models import UpstreamJob
from proxy.store import IDEMPOTENCY_LIFE, StoreBusy
from proxy.testing import SimulatorServer
from tests.checklist.desk import UPSTREAM_KEY, Desk, channel, config
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.simulators.openai import OpenAISimulator

PLUGINS = (Path(__file__).parent / "plugins",)
ONE = "channels: [{name: a, type: puppet, models: [sora-2]}]"
RESENT = {"x-stainless-retry-count": "1"}
DAY, QUARTER = 86_400, 900
OPERATIONS = ("create", "remix", "edit", "extend")


class Raw(NamedTuple):
    """An answer to a POST, byte for byte."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        assert self.status == 200, self.body
        return str(self.json["id"])


async def post(
    product: Product,
    path: str = "/v1/videos",
    *,
    keyed: str | None = None,
    key: str = ADMIN_KEY,
    resent: bool = False,
    data: FormData | None = None,
    **body: Any,
) -> Raw:
    """POST `body` as JSON, or `data` as a form; `keyed` is the Idempotency-Key."""
    headers = {"Authorization": f"Bearer {key}", **(RESENT if resent else {})}
    if keyed is not None:
        headers["Idempotency-Key"] = keyed
    sent: dict[str, Any] = {"json": body or {"prompt": "a paper plane"}} if data is None else {"data": data}
    async with product.session.post(product.url + path, headers=headers, **sent) as response:
        return Raw(response.status, await response.read())


async def reaches(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.005)


def later(product: Product, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The engine's clock shows so many seconds more, and stands still."""
    moment = product.core.clock() + seconds
    monkeypatch.setattr(product.core, "clock", lambda: moment)


class Shop:
    """The product in front of the simulator of OpenAI, with a finished video to start from."""

    def __init__(self, desk: Desk, source: str) -> None:
        self.desk = desk
        self.product = desk.product
        self.sim = desk.sim
        self.source = source

    def ask(self, operation: str, prompt: str = "at night") -> tuple[str, dict[str, Any]]:
        """Path and JSON body of a paid POST."""
        source: dict[str, Any] = {"prompt": prompt, "video": {"id": self.source}}
        asks: dict[str, tuple[str, dict[str, Any]]] = {
            "create": ("/v1/videos", {"prompt": prompt}),
            "remix": (f"/v1/videos/{self.source}/remix", {"prompt": prompt}),
            "edit": ("/v1/videos/edits", source),
            "extend": ("/v1/videos/extensions", {**source, "seconds": "4"}),
        }
        return asks[operation]

    async def post(self, operation: str, prompt: str = "at night", **options: Any) -> Raw:
        path, body = self.ask(operation, prompt)
        return await post(self.product, path, **options, **body)


@pytest.fixture
async def shop(launch: Launch) -> AsyncIterator[Shop]:
    async with SimulatorServer(OpenAISimulator(keys={UPSTREAM_KEY})) as sim:
        sim.automatic = False
        desk = Desk(await launch(config(channel(sim))), sim)
        yield Shop(desk, (await desk.completed())["id"])


# ---------------------------------------------------------------- Idempotency-Key


async def test_fifty_at_once_are_one_video(launch: Launch) -> None:
    """Of fifty simultaneous creates with one Idempotency-Key, forty times over, each time one job is made, and all
    fifty are answered with the same bytes."""
    product = await launch(ONE, plugins=PLUGINS)
    for turn in range(40):
        answers = await asyncio.gather(*(post(product, keyed=f"turn {turn}") for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
    assert len(product.channel("a").asked("create")) == 40
    assert len({request.attempt_id for request in product.channel("a").asked("create")}) == 40


async def test_a_replay_before_the_first_answer_is_kept(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes while the first answer is being kept is answered with those bytes, although the video has moved
    on since they were made."""
    product = await launch(ONE, plugins=PLUGINS)
    store = product.core.store
    save_answer, first_waits, other_waits, go = store.save_answer, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        (other_waits if first_waits.is_set() else first_waits).set()
        await go.wait()
        return await save_answer(*args)

    monkeypatch.setattr(store, "save_answer", slow)
    first = asyncio.create_task(post(product, keyed="k"))
    await first_waits.wait()
    video_id = (await product.call("GET", "/v1/videos"))[1]["data"][0]["id"]
    await product.done(video_id)
    second = asyncio.create_task(post(product, keyed="k"))
    waits = asyncio.create_task(other_waits.wait())
    await asyncio.wait([second, waits], return_when=asyncio.FIRST_COMPLETED)
    waits.cancel()
    go.set()
    assert (await first).id == video_id
    assert (await second).body == (await first).body


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_each_paid_post_has_it(shop: Shop, operation: str) -> None:
    """Create, remix, edit and extension: the same key and body is one job and the same bytes, also at once and after
    the video ended; another body is a 400 that names the header and makes nothing."""
    before = shop.sim.paid
    answers = await asyncio.gather(*(shop.post(operation, keyed="k") for _ in range(10)))
    shop.sim.finish(shop.sim.latest.id)
    await shop.product.done(answers[0].id)
    answers.append(await shop.post(operation, keyed="k"))
    assert len(set(answers)) == 1
    assert shop.sim.paid == before + 1
    listed = await shop.desk.listed()
    refused = await shop.post(operation, "at noon", keyed="k")
    assert (refused.status, refused.json["error"]["code"]) == (400, "idempotency_key_reused")
    assert refused.json["error"]["param"] == "Idempotency-Key"
    assert (shop.sim.paid, await shop.desk.listed()) == (before + 1, listed)


async def test_one_key_does_not_span_operations(shop: Shop) -> None:
    """A key that stands for a create is refused on a remix, edit or extension with the same prompt, and back."""
    for first, *others in (OPERATIONS, tuple(reversed(OPERATIONS))):
        assert (await shop.post(first, keyed=first)).status == 200
        paid = shop.sim.paid
        answers = [await shop.post(operation, keyed=first) for operation in others]
        assert [answer.json["error"]["code"] for answer in answers] == ["idempotency_key_reused"] * 3
        assert shop.sim.paid == paid


async def test_in_flight_it_waits_for_the_first(launch: Launch) -> None:
    """While the upstream thinks, the same key waits for the first answer, and another body for its refusal."""
    product = await launch(ONE, plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    first = asyncio.create_task(post(product, keyed="k"))
    await reaches(lambda: bool(product.channel("a").asked("create")))
    others = [asyncio.create_task(post(product, keyed="k", prompt=prompt)) for prompt in ("a paper plane", "x", "y")]
    # Each has its turn, behind those.
    await post(product, keyed="else")
    assert not any(task.done() for task in (first, *others))
    word.set_result(UpstreamJob(id="up-1", status="in_progress"))
    same, *different = await asyncio.gather(*others)
    assert same == await first
    assert {answer.json["error"]["code"] for answer in different} == {"idempotency_key_reused"}
    assert len(product.channel("a").asked("create")) == 2


async def test_a_key_is_kept_for_a_day(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second before a day has passed the key stands for its video, a second after it for nothing, and then it is
    pruned without being asked for."""
    monkeypatch.setattr(engine_module, "HOUSEKEEPING", 0.02)
    product = await launch(ONE, plugins=PLUGINS)
    store = product.core.store
    assert IDEMPOTENCY_LIFE == DAY
    first = await post(product, keyed="k")
    later(product, monkeypatch, DAY - 1)
    await asyncio.sleep(0.1)
    assert await post(product, keyed="k") == first
    later(product, monkeypatch, 2)
    second = await post(product, keyed="k")
    assert second.id != first.id
    assert await post(product, keyed="k") == second
    later(product, monkeypatch, DAY + 1)
    async with asyncio.timeout(10):
        while await store.idempotent("admin", "k") is not None:
            await asyncio.sleep(0.01)


async def test_a_key_at_the_end_of_its_day(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the very moment at which a day has passed the key makes a new video too, rather than going in circles."""
    product = await launch(ONE, plugins=PLUGINS)
    first = await post(product, keyed="k")
    known = await product.core.store.idempotent("admin", "k")
    assert known is not None
    monkeypatch.setattr(product.core, "clock", lambda: known.created_at + DAY)
    async with asyncio.timeout(5):
        assert (await post(product, keyed="k")).id != first.id


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_refusal_frees_the_key(shop: Shop, operation: str) -> None:
    """Of ten at once whose first is refused by the upstream, that one is told so; the next makes the video, and the
    others get its bytes. The key then stands for the body that worked."""
    before = shop.sim.paid
    shop.sim.then(shop.sim.error(400, "No."), on=operation)
    answers = await asyncio.gather(*(shop.post(operation, keyed="k") for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] * 9 + [400]
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    assert shop.sim.paid == before + 1
    shop.sim.then(shop.sim.error(400, "No."), on=operation)
    assert (await shop.post(operation, keyed="other")).status == 400
    assert (await shop.post(operation, "quite another", keyed="other")).status == 200
    assert shop.sim.paid == before + 2


async def test_a_replay_of_a_video_that_was_deleted(launch: Launch) -> None:
    """What was answered is answered again, as Stripe does it, although its owner has deleted the video since; nothing
    is made anew, and the video stays gone."""
    product = await launch(ONE, plugins=PLUGINS)
    first = await post(product, keyed="k")
    await product.done(first.id)
    assert (await product.call("DELETE", f"/v1/videos/{first.id}"))[0] == 200
    assert await post(product, keyed="k") == first
    assert (await product.call("GET", f"/v1/videos/{first.id}"))[0] == 404
    assert len(product.channel("a").asked("create")) == 1


async def test_another_api_key_has_keys_of_its_own(launch: Launch) -> None:
    """The same Idempotency-Key of another API key, be it of another tenant or of the same user, is a job of its own."""
    product = await launch(ONE, plugins=PLUGINS)
    keys = [await product.key(name, tenant=tenant) for name, tenant in (("a", "user_u"), ("b", "user_u"), ("c", None))]
    answers = await asyncio.gather(*(post(product, keyed="k", key=key) for key in keys * 2))
    assert len({answer.id for answer in answers}) == 3
    assert [one.body for one in answers[:3]] == [one.body for one in answers[3:]]
    assert len(product.channel("a").asked("create")) == 3


async def test_which_video_a_key_stands_for(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of an Idempotency-Key has its video from before the upstream is asked until it is refused, deleted or a
    day old, for the API key that sent it and no other, not even of the same user."""
    product = await launch(ONE, plugins=PLUGINS)
    mine, other = [await product.key(name, tenant="user_u") for name in "ab"]

    async def found(name: str, key: str = mine) -> list[str]:
        status, page, _ = await product.call("GET", "/v1/videos", params={"idempotency_key": name}, key=key)
        assert status == 200
        return [video["id"] for video in page["data"]]

    puppet = product.channel("a")
    for name, word in (("taken", UpstreamJob("up")), ("refused", InvalidRequest("No."))):
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        puppet.then("create", answer)
        order = asyncio.create_task(post(product, keyed=name, key=mine))
        await reaches(lambda: len(puppet.asked("create")) == (1 if name == "taken" else 2))
        (video_id,) = await found(name)
        answer.set_result(word)
        assert (await order).status == (200 if name == "taken" else 400)
        assert await found(name) == ([video_id] if name == "taken" else [])
    assert await found("taken", other) == await found("taken", ADMIN_KEY) == await found("another") == []
    (video_id,) = await found("taken")
    with monkeypatch.context() as patch:
        later(product, patch, DAY)
        assert await found("taken") == []
    assert (await product.call("DELETE", f"/v1/videos/{video_id}?force=true", key=mine))[0] == 200
    assert await found("taken") == []
    assert len(puppet.asked("create")) == 2


async def test_a_full_disk_after_the_video_was_taken(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the answer cannot be kept, its client has it all the same: the video is made and paid for."""
    product = await launch(ONE, plugins=PLUGINS)

    async def full(*args: Any) -> None:
        raise StoreBusy("the disk is full", retry_after=5)

    with monkeypatch.context() as patch:
        patch.setattr(product.core.store, "save_answer", full)
        first = await post(product, keyed="k")
        assert first.status == 200, first.body
    assert (await post(product, keyed="k")).id == first.id
    assert len(product.channel("a").asked("create")) == 1


# ---------------------------------------------------------------- what an SDK sends again


async def hung_up(product: Product, send: Callable[[], Awaitable[Raw]], key: str = ADMIN_KEY) -> str:
    """The video of a POST whose client went away while the upstream was thinking."""
    puppet = product.channel("a")
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    before = len(puppet.asked("create"))
    puppet.then("create", word)
    client = asyncio.ensure_future(send())
    await reaches(lambda: len(puppet.asked("create")) > before)
    attempt_id = puppet.asked("create")[-1].attempt_id
    client.cancel()
    await asyncio.wait([client])
    video = next(one for one in await product.core.store.unfinished() if one.attempt_id == attempt_id)
    word.set_result(UpstreamJob(id=f"up-{attempt_id}", status="in_progress"))
    await product.done(video.id, key=key)
    # The handler has found its client gone.
    await reaches(lambda: not [task for task in product.core._tasks if task.get_name() == "place a video"])
    return video.id


def plane(**fields: str) -> FormData:
    """The usual body as a form."""
    return FormData({"prompt": "a paper plane", **fields}, default_to_multipart=True)


async def test_a_form_is_the_same_body_as_json(launch: Launch) -> None:
    """What was sent as JSON is recognised when it comes again as a form with the same fields, and back."""
    product = await launch(ONE, plugins=PLUGINS)
    body: dict[str, Any] = {"prompt": "a paper plane", "seconds": 8, "seed": 3, "metadata": {"a": {"b": 1}}}
    fields = {"seconds": "8", "seed": "3", "metadata": json.dumps({"a": {"b": 1}})}
    ways: list[Callable[[bool], Awaitable[Raw]]] = [
        lambda resent: post(product, resent=resent, **body),
        lambda resent: post(product, resent=resent, data=plane(**fields)),
    ]
    for first, again in itertools.product(ways, ways):
        video_id = await hung_up(product, lambda: first(False))
        assert (await again(True)).id == video_id


@pytest.mark.parametrize(("after", "same"), [(QUARTER - 1, True), (QUARTER + 1, False)])
async def test_recognised_for_a_quarter_of_an_hour(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, after: float, same: bool
) -> None:
    """A POST that is sent again is its first video within 15 minutes, and a new one afterwards."""
    product = await launch(ONE, plugins=PLUGINS)
    video_id = await hung_up(product, lambda: post(product))
    monkeypatch.setattr(product.core, "clock", lambda: created_at(video_id) + after)
    assert ((await post(product, resent=True)).id == video_id) is same


async def test_the_newest_that_was_not_answered(launch: Launch) -> None:
    """Of several that match, the newest is given, each once: when all are answered a POST is a new one."""
    product = await launch(ONE, plugins=PLUGINS)
    older, newer = [await hung_up(product, lambda: post(product)) for _ in range(2)]
    answered = await post(product)
    given = [(await post(product, resent=True)).id for _ in range(3)]
    assert given[:2] == [newer, older]
    assert given[2] not in (older, newer, answered.id)


@pytest.mark.parametrize("mark", ["0", "", "-1", "x", "1.5", "١", None])
async def test_only_what_the_sdk_marks(launch: Launch, mark: str | None) -> None:
    """Without a count of 1 or more in x-stainless-retry-count, a POST is a new one."""
    product = await launch(ONE, plugins=PLUGINS)
    video_id = await hung_up(product, lambda: post(product))
    headers = {} if mark is None else {"x-stainless-retry-count": mark}
    assert (await product.create(headers=headers))["id"] != video_id
    assert (await product.create(headers={"x-stainless-retry-count": "2"}))["id"] == video_id


async def test_not_what_somebody_else_sent(launch: Launch) -> None:
    """What another API key sent, and another body, are never the first of a repetition; what its owner has deleted
    meanwhile is, because it may have been paid for."""
    product = await launch(ONE, plugins=PLUGINS)
    mine, other = [await product.key(name, tenant="user_u") for name in "ab"]
    video_id = await hung_up(product, lambda: post(product, key=mine), mine)
    assert (await post(product, key=other, resent=True)).id != video_id
    assert (await post(product, key=mine, resent=True, prompt="another")).id != video_id
    assert (await product.call("DELETE", f"/v1/videos/{video_id}", key=mine))[0] == 200
    again = await post(product, key=mine, resent=True)
    assert (again.status, again.id) == (200, video_id)
    assert (await product.call("GET", f"/v1/videos/{video_id}", key=mine))[0] == 404


async def test_a_refused_one_is_sent_anew(launch: Launch) -> None:
    """A POST that comes again while the first is at the upstream, which then refuses it, is a request of its own."""
    product = await launch(ONE, plugins=PLUGINS)
    puppet = product.channel("a")
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    puppet.then("create", word)
    first = asyncio.create_task(post(product))
    await reaches(lambda: bool(puppet.asked("create")))
    again = asyncio.create_task(post(product, resent=True))
    await post(product, prompt="so that the other one has its turn")
    assert len(puppet.asked("create")) == 2
    word.set_exception(InvalidRequest("No."))
    assert [(await first).status, (await again).status] == [400, 200]
    assert len(puppet.asked("create")) == 3


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_each_paid_post_is_recognised(shop: Shop, operation: str) -> None:
    """Create, remix, edit and extension: sent again after a broken connection it is one job."""
    sim, before = shop.sim, shop.sim.paid
    sim.fault("hang", on=operation)
    client = asyncio.create_task(shop.post(operation))
    await reaches(lambda: shop.sim.paid > before)
    client.cancel()
    await asyncio.wait([client])
    again = asyncio.create_task(shop.post(operation, resent=True))
    await shop.post(operation, "so that the other one has its turn")
    again.cancel()
    await asyncio.wait([again])
    assert [call.json["prompt"] for call in sim.calls(operation)].count("at night") == 1
