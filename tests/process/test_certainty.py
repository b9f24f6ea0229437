"""What became of a paid POST, from outside: a real server, upstreams that fail at it, and how often each was asked."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from aiohttp.test_utils import unused_port

from proxy.testing import SimulatorServer
from tests.process.conftest import Spawn
from tests.process.server import KEY, ServerProcess
from tests.simulators.openai import OpenAISimulator

AMBIGUOUS = (
    *("hang", "reset_before_reply", "reset_after_taking", "cut_body", "html_502", "html_200", "empty_200", "no_id"),
    *("redirect_307", "408", "409", "500", "503", "504"),
)
"""Nobody can know whether the upstream took the job: `UNKNOWN`."""
DEFINITE = ("unreachable", "no_tls", "401", "402", "403", "404", "405", "429")
"""It certainly did not take it, and another one may: `REFUSED`."""
CLIENTS = ("400", "413", "415", "422", "451")
"""It says that the request is wrong, which no other one would take: `CLIENT`."""
CALLS = 20
FAILURES = 5
"""After so many in a row a channel is left alone for a while, if its entry says nothing else."""
BEARER = {"Authorization": f"Bearer {KEY}"}
QUICK = "timeout: {connect: 5, first_byte: 0.5, total: 5}"
PATIENT = "timeout: {connect: 30, first_byte: 60, total: 90}"
"""Where no upstream hangs: a busy machine, on which it answers late, must not make an answer an unknown outcome."""


class Bank:
    """One simulator for each kind of failure, and a good one; `text` makes the channels in front of them."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self.sims: dict[str, OpenAISimulator] = {}

    async def open(self, *kinds: str, like: type[OpenAISimulator] = OpenAISimulator) -> None:
        for kind in kinds:
            self.sims[kind] = sim = await self._stack.enter_async_context(SimulatorServer(like()))
            if kind.isdigit():
                headers = {"Retry-After": "1"} if kind == "429" else {}
                sim.then(sim.error(int(kind), "Not now."), headers=headers, on="create", times=None)
            elif kind in AMBIGUOUS:
                sim.fault(kind, on="create", times=None)

    def entry(self, kind: str, *models: str, more: str = "", timeout: str = PATIENT) -> str:
        """The channel `kind`, which serves `models`; like `kind` where none is named."""
        address = self.sims[kind].base_url
        if kind == "unreachable":
            address = f"http://127.0.0.1:{unused_port()}"
        if kind == "no_tls":
            address = address.replace("http:", "https:")
        named = ", ".join(f"'{model}': sora-2" for model in models or (kind,))
        return (
            f"  - {{name: '{kind}', type: openai, base_url: '{address}', api_key: sk-test, poll_every: 0.05, "
            f"{timeout}, models: {{{named}}}{more}}}\n"
        )

    def sent(self, kind: str) -> Counter[str]:
        """How often each prompt was posted there."""
        return Counter(call.fields["prompt"] for call in self.sims[kind].calls("create"))

    def made(self, kind: str) -> Counter[str]:
        """How many jobs were taken, and are paid for, by prompt."""
        return Counter(job.facts["prompt"] for job in self.sims[kind].jobs.values())


@pytest.fixture
async def bank() -> AsyncIterator[Bank]:
    async with contextlib.AsyncExitStack() as stack:
        yield Bank(stack)


class Client:
    """One that asks once and keeps to what it is told."""

    def __init__(self, server: ServerProcess, session: ClientSession) -> None:
        self.server = server
        self.session = session

    async def ask(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any, dict[str, str]]:
        async with self.session.request(method, self.server.base_url + path, **kwargs) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.json(), headers

    async def create(self, model: str, number: int) -> tuple[int, Any, dict[str, str]]:
        return await self.ask("POST", "/videos", json={"model": model, "prompt": f"{model} {number}"})

    async def video(self, video_id: str) -> Any:
        status, video, _ = await self.ask("GET", f"/videos/{video_id}")
        assert status == 200, video
        return video

    async def listed(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        more = True
        while more:
            after = f"&after={list(found)[-1]}" if found else ""
            _, page, _ = await self.ask("GET", f"/videos?limit=100{after}")
            found |= {video["id"]: video for video in page["data"]}
            more = page["has_more"]
        return found

    async def ended(self, *statuses: str) -> dict[str, Any]:
        """All videos, once each has one of `statuses`."""
        videos: dict[str, Any] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(45):
                while not videos or any(video["status"] not in statuses for video in videos.values()):
                    await asyncio.sleep(0.05)
                    videos = await self.listed()
        late = [video_id for video_id, video in videos.items() if video["status"] not in statuses]
        # What the operator would look at says why a video has not ended.
        root = self.server.base_url.removesuffix("/v1")
        why = [await (await self.session.get(f"{root}/admin/api/videos/{video_id}")).text() for video_id in late[:3]]
        assert not late, why
        return videos


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(
        headers=BEARER, timeout=ClientTimeout(total=60), connector=TCPConnector(limit=0)
    ) as session:
        yield session


async def reloaded(server: ServerProcess, text: str) -> None:
    """Have the server take `text` for its file, and wait until it has."""
    before = sum("reloaded" in line for line in server.log)
    server.text = text
    await asyncio.to_thread(server.config.write_text, text, "utf-8")
    server.send(signal.SIGHUP)
    async with asyncio.timeout(30):
        while sum("reloaded" in line for line in server.log) == before:
            await asyncio.sleep(0.02)


def numbers(kinds: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(kind, number) for number in range(CALLS) for kind in kinds]


# ---------------------------------------------------------------- unknown, refused, the client's fault


async def test_what_nobody_can_know_is_sent_once(spawn: Spawn, bank: Bank, session: ClientSession) -> None:
    """Fourteen ambiguous failures, twenty calls each: every call is a 200 and a queued video at once, is posted once,
    to one channel, fails with outcome_unknown when the grace is over and not before, and is never sent again."""
    await bank.open(*AMBIGUOUS, "good")
    entries = "".join(bank.entry(kind, more=", breaker: null, priority: 9", timeout=QUICK) for kind in AMBIGUOUS)
    channels = "channels:\n" + entries + bank.entry("good", *AMBIGUOUS)
    server = spawn("server: {unknown_grace: 600}\n" + channels)
    await server.start()
    client = Client(server, session)

    async def one(kind: str, number: int) -> str:
        status, video, _ = await client.create(kind, number)
        assert (status, video["status"], video["error"]) == (200, "queued", None), (kind, video)
        assert (await client.video(video["id"]))["status"] == "queued"
        return str(video["id"])

    ids = await asyncio.gather(*(one(*call) for call in numbers(AMBIGUOUS)))
    assert {video["status"] for video in (await client.listed()).values()} == {"queued"}
    await reloaded(server, "server: {unknown_grace: 0.1}\n" + channels)
    videos = await client.ended("completed", "failed")
    assert sorted(videos) == sorted(ids)
    assert {(video["status"], video["error"]["code"]) for video in videos.values()} == {("failed", "outcome_unknown")}
    for kind in AMBIGUOUS:
        assert bank.sent(kind) == {f"{kind} {number}": 1 for number in range(CALLS)}, kind
    assert not bank.sent("good")


async def test_a_tripped_channel_queues(spawn: Spawn, bank: Bank, session: ClientSession) -> None:
    """With the breaker that every channel has, calls beyond the failures that trip it are queued, not lost and not
    sent; when the upstream is well again each of them is made, once."""
    kinds = AMBIGUOUS[1:]
    await bank.open(*kinds)
    server = spawn("channels:\n" + "".join(bank.entry(kind) for kind in kinds))
    await server.start()
    client = Client(server, session)
    for number in range(FAILURES):
        # One by one at each channel: what is on its way when it trips is on its way.
        answers = await asyncio.gather(*(client.create(kind, number) for kind in kinds))
        assert {status for status, _, _ in answers} == {200}
    rest = [(kind, number) for kind in kinds for number in range(FAILURES, CALLS)]
    answers = await asyncio.gather(*(client.create(*call) for call in rest))
    assert {(status, video["status"]) for status, video, _ in answers} == {(200, "queued")}
    for kind in kinds:
        assert bank.sent(kind).total() == FAILURES, kind
        bank.sims[kind].calm()
    # A changed channel has a breaker that knows nothing.
    await reloaded(server, "channels:\n" + "".join(bank.entry(kind, more=", weight: 2") for kind in kinds))
    async with asyncio.timeout(45):
        for _, video, _ in answers:
            while (await client.video(video["id"]))["status"] != "completed":
                await asyncio.sleep(0.05)
    told = Counter(video["status"] for video in (await client.listed()).values())
    assert told == {"queued": FAILURES * len(kinds), "completed": len(rest)}
    for kind in kinds:
        assert bank.sent(kind) == {f"{kind} {number}": 1 for number in range(CALLS)}, kind


async def test_what_was_certainly_not_taken_goes_elsewhere(spawn: Spawn, bank: Bank, session: ClientSession) -> None:
    """Eight definite failures, twenty calls each, with two channels: each call is exactly one job, on the second."""
    await bank.open(*DEFINITE, "good")
    entries = "".join(bank.entry(kind, more=", priority: 9") for kind in DEFINITE)
    server = spawn("channels:\n" + entries + bank.entry("good", *DEFINITE))
    await server.start()
    client = Client(server, session)
    answers = await asyncio.gather(*(client.create(*call) for call in numbers(DEFINITE)))
    assert {status for status, _, _ in answers} == {200}
    videos = await client.ended("completed", "failed")
    assert len(videos) == len(answers)
    assert {video["status"] for video in videos.values()} == {"completed"}
    assert bank.made("good") == {f"{kind} {number}": 1 for kind, number in numbers(DEFINITE)}
    for kind in DEFINITE:
        assert not bank.made(kind)
        assert max(bank.sent(kind).values(), default=0) <= 1, kind
        # What does not speak HTTP at all heard nothing, and the others were really asked first.
        assert bool(bank.sent(kind)) is kind.isdigit()


async def test_what_the_client_did_wrong_is_told_once(spawn: Spawn, bank: Bank, session: ClientSession) -> None:
    """An upstream's 4xx on the request itself is the client's answer: not asked elsewhere, not sent again by the SDK,
    and no video is left of it."""
    await bank.open(*CLIENTS, "good")
    entries = "".join(bank.entry(kind, more=", priority: 9") for kind in CLIENTS)
    server = spawn("channels:\n" + entries + bank.entry("good", *CLIENTS))
    await server.start()
    client = Client(server, session)
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY) as sdk:

        async def one(kind: str, number: int) -> int:
            with pytest.raises(openai.APIStatusError) as caught:
                await sdk.videos.create(model=kind, prompt=f"{kind} {number}")
            return caught.value.status_code

        statuses = await asyncio.gather(*(one(*call) for call in numbers(CLIENTS)))
    assert set(statuses) == {400}
    assert await client.listed() == {}
    for kind in CLIENTS:
        assert bank.sent(kind) == {f"{kind} {number}": 1 for number in range(CALLS)}, kind
    assert not bank.sent("good")


# ---------------------------------------------------------------- clients that send again by themselves


class Slow(OpenAISimulator):
    """An upstream that answers a create when it is told to, long after it has heard it."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def reference(self, *args: Any) -> None:
        await self.go.wait()
        await super().reference(*args)


class Front:
    """A proxy before the server. It hangs up on its first `cuts` connections as soon as `when` says so."""

    def __init__(self, server: ServerProcess, *, cuts: int = 0, when: Callable[[], bool] = lambda: True) -> None:
        self._server = server
        self._cuts = cuts
        self._when = when
        self._tasks: set[asyncio.Task[None]] = set()
        self.opened = 0
        """Connections that clients have made."""
        self.cut = 0

    async def __aenter__(self) -> Front:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        # The clients have closed their connections before this.
        self._listening.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        spoilt = self.opened <= self._cuts
        there, back = await asyncio.open_connection("127.0.0.1", self._server.port)
        pipes = [asyncio.create_task(_pipe(reader, back)), asyncio.create_task(_pipe(there, writer))]
        try:
            if spoilt:
                await reaches(self._when)
            else:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)
            for end in (writer, back):
                end.transport.abort()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()
            self.cut += spoilt


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def reaches(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(45):
        while not what():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("alike", [False, True], ids=["different", "alike"])
async def test_a_call_of_the_sdk_pays_once(spawn: Spawn, bank: Bank, alike: bool) -> None:
    """The official SDK with its default retries, five faults, twenty calls each, all different or all alike: every
    call ends with a video, and no more is posted and paid for than was called for. Three faults are the upstream's;
    in the others the SDK loses its answer, as the connection breaks or its patience ends, and sends again by itself."""
    upstreams, clients = ("reset_after_taking", "cut_body", "html_502"), ("cut off", "impatient")
    await bank.open(*upstreams)
    await bank.open(*clients, like=Slow)
    server = spawn(
        "channels:\n"
        + "".join(bank.entry(kind, more=", breaker: null") for kind in upstreams)
        + "".join(bank.entry(kind) for kind in clients)
    )
    await server.start()
    cut_off, impatient = (bank.sims[kind] for kind in clients)
    assert isinstance(cut_off, Slow)
    assert isinstance(impatient, Slow)

    def all_came() -> bool:
        return len(cut_off.calls("create")) >= CALLS

    async with (
        Front(server, cuts=CALLS, when=all_came) as cutting,
        Front(server) as plain,
        openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY) as sdk,
    ):
        sdks = dict.fromkeys(upstreams, sdk)
        sdks["cut off"] = sdk.copy(base_url=cutting.base_url)
        sdks["impatient"] = sdk.copy(base_url=plain.base_url, timeout=2.5)

        async def one(kind: str, number: int) -> tuple[str, str]:
            prompt = "the same" if alike else f"{kind} {number}"
            return kind, (await sdks[kind].videos.create(model=kind, prompt=prompt)).id

        calling = [asyncio.create_task(one(*call)) for call in numbers((*upstreams, *clients))]
        # Sent again after the upstream's word here, and before it there.
        await reaches(lambda: cutting.cut == CALLS)
        cut_off.go.set()
        await reaches(lambda: plain.opened >= 2 * CALLS)
        impatient.go.set()
        answers = await asyncio.gather(*calling)
    for kind in (*upstreams, *clients):
        assert len(bank.sims[kind].calls("create")) == bank.sims[kind].paid == CALLS, kind
        ids = {video_id for told, video_id in answers if told == kind}
        if not alike or kind in upstreams:
            assert len(ids) == CALLS, kind
    assert cutting.opened > CALLS
    assert await server.stop() == 0
