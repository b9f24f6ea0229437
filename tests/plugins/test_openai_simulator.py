"""plugins/openai.py against the simulator of OpenAI's API, which is as strict as the documents are."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from plugins.openai import OpenAI
from proxy import AccountRefused, Clip, InvalidRequest, Picture, UpstreamError, UpstreamGone, UpstreamJob
from proxy.testing import Part, SimulatorServer
from tests.plugins.openai_oracle import KEY, PROMPT, opened, picture_file, request
from tests.simulators.openai import BLOCKED, OpenAISimulator


@pytest.fixture
async def sim() -> AsyncIterator[OpenAISimulator]:
    async with SimulatorServer(OpenAISimulator(keys={KEY, "sk-other-account"})) as simulator:
        yield simulator


@pytest.fixture
async def channel(sim: OpenAISimulator, tmp_path: Path) -> AsyncIterator[OpenAI]:
    async with opened(sim.base_url, tmp_path) as channel:
        yield channel


@pytest.fixture
async def clip(sim: OpenAISimulator, tmp_path: Path) -> Clip:
    file = tmp_path / "clip.mp4"
    await asyncio.to_thread(file.write_bytes, sim.video_bytes)
    return Clip(file)


def picture(width: int, height: int, form: str = "PNG") -> Picture:
    return Picture(picture_file(width, height, form), f"image/{form.lower()}", width, height)


async def finished(channel: OpenAI, job: UpstreamJob) -> UpstreamJob:
    for _ in range(10):
        job = await channel.fetch(job)
        if job.status in ("completed", "failed"):
            return job
    raise AssertionError(f"{job} did not finish")


async def content(
    channel: OpenAI, job: UpstreamJob, variant: str = "video", range: str | None = None
) -> tuple[int, bytes]:
    source = await channel.content(job, variant)  # type: ignore[arg-type]
    async with channel.upstream.open(source, range=range) as response:
        assert response.content_type == source.media_type
        return response.status, await response.read()


async def test_from_create_to_delete(sim: OpenAISimulator, channel: OpenAI) -> None:
    """One video: ordered once, polled to its end, downloaded whole and in part in all variants, deleted, gone."""
    job = await channel.create(request())
    assert sim.latest.facts["prompt"] == PROMPT
    assert [(await channel.fetch(job)).status for _ in range(2)] == ["queued", "in_progress"]
    done = await channel.fetch(job)
    assert (done.id, done.status, done.progress) == (job.id, "completed", 100)
    assert done.expires_at == sim.latest.facts["expires_at"]
    assert await content(channel, done) == (200, sim.video_bytes)
    assert await content(channel, done, range="bytes=5-9") == (206, sim.video_bytes[5:10])
    assert (await content(channel, done, "thumbnail"))[1][8:12] == b"WEBP"
    assert (await content(channel, done, "spritesheet"))[1][:2] == b"\xff\xd8"
    assert sim.paid == 1
    await channel.delete(done)
    assert sim.latest.removed
    with pytest.raises(UpstreamGone):
        await channel.fetch(done)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_is_taken(sim: OpenAISimulator, channel: OpenAI, form: str) -> None:
    """A picture of the video's size is taken as a file; one of another size is the client's fault."""
    await channel.create(request(images=(picture(1280, 720, form),)))
    part = sim.latest.call.form["input_reference"]
    assert isinstance(part, Part)
    assert part.content_type == f"image/{form.lower()}"
    with pytest.raises(InvalidRequest, match="Inpaint image must match the requested width and height"):
        await channel.create(request(images=(picture(720, 1280, form),)))
    assert sim.paid == 1


async def test_characters(sim: OpenAISimulator, channel: OpenAI, clip: Clip) -> None:
    """A character made from a clip can be used, also beside a picture."""
    character = await channel.character("Mira", clip)
    assert sim.characters[character]["name"] == "Mira"
    await channel.create(request(characters=(character,)))
    assert sim.latest.facts["characters"] == [character]
    whole = picture(1280, 720)
    await channel.create(request(characters=(character,), images=(whole,)))
    assert sim.latest.facts["characters"] == [character]
    address = sim.latest.call.json["input_reference"]["image_url"]
    assert base64.b64decode(address.partition(",")[2]) == whole.data
    with pytest.raises(InvalidRequest) as caught:
        await channel.create(request(characters=("char_unknown",)))
    assert caught.value.param == "characters"
    assert sim.paid == 2


async def test_follow_ups(sim: OpenAISimulator, channel: OpenAI, clip: Clip) -> None:
    """Remix, edit and extension, of a video and of an upload, are each taken once and start from the right thing."""
    source = await finished(channel, await channel.create(request()))
    await channel.remix(request(prompt="in winter"), source)
    assert (sim.latest.kind, sim.latest.facts["remixed_from"]) == ("remix", source.id)
    await channel.edit(request(prompt="in winter"), source)
    assert (sim.latest.kind, sim.latest.facts["prompt"]) == ("edit", "in winter")
    await channel.extend(request(seconds=4), source)
    assert (sim.latest.kind, sim.latest.facts["seconds"]) == ("extend", "12")
    for follow in (channel.edit, channel.extend):
        await follow(request(video=clip), None)
        part = sim.latest.call.form["video"]
        assert isinstance(part, Part)
        assert part.data == sim.video_bytes
    assert sim.paid == 6
    assert all(job.account == KEY for job in sim.jobs.values())


async def test_what_the_simulator_refuses(sim: OpenAISimulator, channel: OpenAI, tmp_path: Path) -> None:
    """Refusals name the field; a stranger's key, an unfinished source and another account's video cost nothing."""
    for changes, param in (({"seconds": 5}, "seconds"), ({"size": "640x480"}, "size"), ({"prompt": ""}, "prompt")):
        with pytest.raises(InvalidRequest) as caught:
            await channel.create(request(**changes))
        assert caught.value.param == param
    job = await channel.create(request())
    for follow in (channel.remix, channel.edit, channel.extend):
        with pytest.raises(InvalidRequest, match="not completed"):
            await follow(request(), job)
    async with opened(sim.base_url, tmp_path, api_key="sk-nobody") as stranger:
        with pytest.raises(AccountRefused):
            await stranger.create(request())
    async with opened(sim.base_url, tmp_path, api_key="sk-other-account") as other:
        for ask in (other.fetch, lambda job: other.remix(request(), job)):
            with pytest.raises(UpstreamGone) as gone:
                await ask(job)
            assert job.id not in str(gone.value)
    assert sim.paid == 1


async def test_how_the_simulator_fails(sim: OpenAISimulator, channel: OpenAI) -> None:
    """A moderated and a broken job end as failed, each with its code; an unknown word fails none."""
    job = await channel.create(request())
    sim.put(job.id, "martian")
    with pytest.raises(UpstreamError, match="martian"):
        await channel.fetch(job)
    sim.moderate(job.id)
    moderated = await channel.fetch(job)
    assert moderated.error is not None
    assert (moderated.status, moderated.error.code, moderated.error.message) == ("failed", *BLOCKED)
    job = await channel.create(request())
    sim.fail(job.id, code="server_error", message="It broke.")
    broken = await channel.fetch(job)
    assert broken.error is not None
    assert (broken.error.code, broken.error.message) == ("upstream_failed", "It broke.")
