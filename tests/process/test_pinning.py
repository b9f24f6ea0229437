"""Two accounts for one model: every follow-up reaches the one that made the video, or says why it cannot (P3)."""

import asyncio
import io
import signal
from pathlib import Path
from typing import Any

import av
import pytest
from aiohttp import ClientSession
from PIL import Image

from proxy import config
from proxy.app import reload
from proxy.engine import polling
from proxy.testing import SimulatorServer
from proxy.testing.simulator import Job
from tests.conftest import Launch, Product
from tests.process.conftest import Spawn
from tests.process.server import KEY, ServerProcess
from tests.simulators.openai import OpenAISimulator

PLUGINS = (Path(__file__).parent / "plugins",)
KEYS = ("sk-account-a-0001", "sk-account-b-0002")


def entry(sim: OpenAISimulator, name: str, more: str = "") -> str:
    key = KEYS["ab".index(name)]
    return (
        f"  - {{name: {name}, type: openai, base_url: '{sim.base_url}', api_key: {key}, models: [sora-2], "
        f"poll_every: 0.02{more}}}\n"
    )


def job_of(sim: OpenAISimulator, prompt: str) -> Job:
    (job,) = [job for job in sim.jobs.values() if job.facts["prompt"] == prompt]
    return job


def accounts(sim: OpenAISimulator, since: int, *operations: str) -> list[tuple[str, str | None]]:
    """Who was asked for which of these, since the request of that number."""
    return [(call.operation, call.account) for call in sim.requests[since:] if call.operation in operations]


# ---------------------------------------------------------------- a real process


class Session:
    """One client of a server process."""

    def __init__(self, server: ServerProcess, session: ClientSession) -> None:
        self.server = server
        self.session = session

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self.session.request(method, self.server.base_url + path, headers=headers, **kwargs) as response:
            body = await response.json() if response.content_type == "application/json" else await response.read()
            return response.status, body

    async def make(self, path: str, body: dict[str, Any]) -> str:
        status, video = await self.call("POST", path, json=body)
        assert status == 200, video
        return video["id"]

    async def done(self, video_id: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                status, video = await self.call("GET", f"/videos/{video_id}")
                assert status == 200, video
                if video["status"] in ("completed", "failed"):
                    return video
                await asyncio.sleep(0.02)

    async def reread(self, text: str) -> None:
        """SIGHUP with a new file, and wait until it holds."""
        before = sum("reloaded" in line for line in self.server.log)
        await asyncio.to_thread(self.server.config.write_text, text, "utf-8")
        self.server.send(signal.SIGHUP)
        async with asyncio.timeout(20):
            while sum("reloaded" in line for line in self.server.log) == before:
                await asyncio.sleep(0.01)


async def test_every_follow_up_reaches_the_account_that_made_the_video(spawn: Spawn) -> None:
    """Retrieve, content, remix, edit, extend and delete, after other weights, another order, and a restart."""
    async with SimulatorServer(OpenAISimulator(keys=KEYS)) as sim, ClientSession() as http:
        a, b = entry(sim, "a", ", weight: 3"), entry(sim, "b", ", weight: 2")
        server = spawn("channels:\n" + a + b)
        await server.start()
        client = Session(server, http)
        made: dict[str, str] = {}
        owner: dict[str, str] = {}
        # The draw is by weight: on until both accounts have one for each change below.
        while min(list(owner.values()).count(account) for account in KEYS) < 4:
            prompt = f"film {len(made)}"
            assert len(made) < 200, owner
            made[prompt] = await client.make("/videos", {"prompt": prompt})
            owner[prompt] = job_of(sim, prompt).account
        swapped = "channels:\n" + entry(sim, "b", ", weight: 1") + entry(sim, "a", ", weight: 1000")
        changes = [
            ("at first", None),
            ("other weights and order", swapped),
            ("the other one preferred", "channels:\n" + entry(sim, "a", ", priority: 9") + entry(sim, "b")),
            ("after a restart", "restart"),
        ]
        for when, change in changes:
            if change == "restart":
                await server.kill()
                server.text = swapped
                await server.start()
            elif change is not None:
                await client.reread(change)
            for account in KEYS:
                prompt = next(prompt for prompt in made if owner[prompt] == account)
                video_id = made.pop(prompt)
                assert (await client.done(video_id))["status"] == "completed"
                children = []
                for path, body in (
                    (f"/videos/{video_id}/remix", {}),
                    ("/videos/edits", {"video": {"id": video_id}}),
                    ("/videos/extensions", {"video": {"id": video_id}, "seconds": "4"}),
                ):
                    child = f"{path.rsplit('/', 1)[1]} of {prompt} {when}"
                    children.append(await client.make(path, {"prompt": child, **body}))
                    assert job_of(sim, child).account == account
                for child_id in children:
                    assert (await client.done(child_id))["status"] == "completed"
                since = len(sim.requests)
                status, content = await client.call("GET", f"/videos/{video_id}/content")
                assert (status, content) == (200, sim.video_bytes)
                assert (await client.call("DELETE", f"/videos/{video_id}"))[0] == 200
                assert accounts(sim, since, "content", "delete") == [("content", account), ("delete", account)]
                assert job_of(sim, prompt).removed
        upstream_jobs = {job.id: job.account for job in sim.jobs.values()}
        for call in sim.requests:
            if (job_id := call.match.get("id")) is not None:
                assert call.account == upstream_jobs[job_id], call
        assert await server.stop() == 0


# ---------------------------------------------------------------- a channel that is gone, off, or cannot


async def rerun(product: Product, text: str) -> None:
    parsed = await asyncio.to_thread(config.parse, text, Path("channels.yaml"), {})
    await reload(product.server.app, parsed)


async def refusal(product: Product, path: str, body: dict[str, Any] | None = None) -> tuple[int, str, str | None]:
    """Status, code and x-should-retry of a POST with a body, or of a GET."""
    kwargs = {} if body is None else {"json": {"prompt": "at night", **body}}
    status, said, headers = await product.call("GET" if body is None else "POST", path, **kwargs)
    assert status >= 400, said
    return status, said["error"]["code"], headers.get("x-should-retry")


async def two_videos(product: Product, sim: OpenAISimulator) -> tuple[str, str]:
    """A completed video of account b, and one there that runs until the simulator is told."""
    finished = (await product.create(prompt="finished"))["id"]
    await product.done(finished)
    sim.automatic = False
    running = (await product.create(prompt="running"))["id"]
    assert job_of(sim, "finished").account == job_of(sim, "running").account == KEYS[1]
    return finished, running


async def test_a_channel_that_is_gone(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its videos stay readable, what needs it is a 503 that no SDK repeats, its polls pause and go on at its return."""
    monkeypatch.setattr(polling, "LOOK_AGAIN", 0.05)
    async with SimulatorServer(OpenAISimulator(keys=KEYS)) as sim:
        both = "channels:\n" + entry(sim, "a") + entry(sim, "b", ", priority: 1, poll_timeout: 2")
        product = await launch(both)
        finished, running = await two_videos(product, sim)
        await rerun(product, "channels:\n" + entry(sim, "a"))
        gone = (503, "channel_unavailable", "false")
        assert await refusal(product, f"/v1/videos/{finished}/remix", {}) == gone
        assert await refusal(product, "/v1/videos/edits", {"video": {"id": finished}}) == gone
        assert await refusal(product, "/v1/videos/extensions", {"video": {"id": finished}, "seconds": "4"}) == gone
        assert await refusal(product, f"/v1/videos/{finished}/content") == gone
        assert (await product.call("GET", f"/v1/videos/{finished}"))[1]["status"] == "completed"
        # A poll that is under way may still end; the time away is longer than poll_timeout.
        await asyncio.sleep(0.2)
        since = len(sim.requests)
        await asyncio.sleep(2.2)
        assert len(sim.requests) == since
        assert (await product.call("GET", f"/v1/videos/{running}"))[1]["status"] in ("queued", "in_progress")
        await rerun(product, both)
        sim.finish(job_of(sim, "running").id)
        assert (await product.done(running))["status"] == "completed"
        assert (await product.call("GET", f"/v1/videos/{finished}/content"))[0] == 200
        status, _, _ = await product.call("POST", f"/v1/videos/{finished}/remix", json={"prompt": "again"})
        assert status == 200
        assert job_of(sim, "again").account == KEYS[1]


async def test_a_channel_that_is_switched_off(launch: Launch) -> None:
    """It takes nothing new, remixes neither; its running video is polled to the end and its content is served."""
    async with SimulatorServer(OpenAISimulator(keys=KEYS)) as sim:
        product = await launch("channels:\n" + entry(sim, "a") + entry(sim, "b", ", priority: 1"))
        finished, running = await two_videos(product, sim)
        await rerun(product, "channels:\n" + entry(sim, "a") + entry(sim, "b", ", enabled: false"))
        assert await refusal(product, f"/v1/videos/{finished}/remix", {}) == (503, "channel_unavailable", "false")
        sim.finish(job_of(sim, "running").id)
        assert (await product.done(running))["status"] == "completed"
        assert (await product.call("GET", f"/v1/videos/{finished}/content"))[:2] == (200, sim.video_bytes)
        await product.create(prompt="new")
        assert job_of(sim, "new").account == KEYS[0]


async def test_a_remix_that_cannot_be(launch: Launch) -> None:
    """Switched off, too early, of a failed video, with another channel's model: its own code each, unpaid."""
    async with SimulatorServer(OpenAISimulator(keys=KEYS)) as sim:
        other = entry(sim, "a").replace("[sora-2]", "[sora-2-pro]")
        both = "channels:\n" + other + entry(sim, "b")
        product = await launch(both)
        finished, running = await two_videos(product, sim)
        failed = (await product.create(prompt="failed"))["id"]
        sim.fail(job_of(sim, "failed").id)
        assert (await product.done(failed))["status"] == "failed"
        paid = sim.paid
        assert (await refusal(product, f"/v1/videos/{running}/remix", {}))[:2] == (400, "video_not_completed")
        assert (await refusal(product, f"/v1/videos/{failed}/remix", {}))[:2] == (400, "video_failed")
        status, body, _ = await product.call(
            "POST", f"/v1/videos/{finished}/remix", json={"prompt": "x", "model": "sora-2-pro"}
        )
        assert (status, body["error"]["param"]) == (400, "model")
        await rerun(product, "channels:\n" + other + entry(sim, "b", ", remix: 'off'"))
        assert (await refusal(product, f"/v1/videos/{finished}/remix", {}))[:2] == (400, "remix_unsupported")
        assert sim.paid == paid


# ---------------------------------------------------------------- reimagine


def film(colour: tuple[int, int, int]) -> bytes:
    """A real MP4 whose first frame is of one colour and whose others are black."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        for number in range(8):
            picture = Image.new("RGB", (192, 128), (0, 0, 0) if number else colour)
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("queued", [False, True])
async def test_reimagine_starts_from_the_first_frame_on_the_same_channel(launch: Launch, queued: bool) -> None:
    """Without a remix of its own: a creation with the source's first frame and settings, also one that had to wait."""
    product = await launch(
        """
channels:
  - {name: a, type: still, models: [sora-2], priority: 1, max_running: 1}
  - {name: b, type: still, models: [sora-2], priority: 2, max_running: 1}
""",
        plugins=PLUGINS,
    )
    a, b = product.channel("a"), product.channel("b")
    b.film = await asyncio.to_thread(film, (220, 40, 40))
    source = await product.create(prompt="red", seconds="8", size="1280x720", seed=7)
    await product.done(source["id"])
    if queued:
        b.poll_every = 0.3
        await product.create(prompt="in the way")
    status, remix, _ = await product.call("POST", f"/v1/videos/{source['id']}/remix", json={"prompt": "blue"})
    assert status == 200, remix
    assert remix["remixed_from_video_id"] == source["id"]
    if queued:
        assert (await product.call("DELETE", f"/v1/videos/{source['id']}"))[0] == 200
    assert (await product.done(remix["id"]))["status"] == "completed"
    assert a.asked == []
    request = b.asked[-1]
    assert (request.kind, request.prompt, request.seconds, request.size) == ("create", "blue", 8, "1280x720")
    assert request.seed == 7
    assert (remix["seconds"], remix["size"]) == ("8", "1280x720")
    (picture,) = request.images
    assert (picture.width, picture.height) == (192, 128)
    red, green, blue = Image.open(io.BytesIO(picture.data)).convert("RGB").getpixel((96, 64))  # type: ignore[misc]
    assert red > 150 > 100 > max(green, blue)
