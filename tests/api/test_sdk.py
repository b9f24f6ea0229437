"""The official SDK against the surface, as its users call it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI

from tests.api.conftest import Surface
from tests.api.memory import MP4

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


@pytest.fixture
async def client(surface: Surface) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{surface.url}/v1", api_key="anna-secret", max_retries=2) as made:
        yield made


async def test_create_and_poll_then_download(surface: Surface, client: AsyncOpenAI, tmp_path: Path) -> None:
    """create_and_poll ends with the completed video, whose content the SDK writes to a file."""

    async def render() -> None:
        while not surface.engine.videos_by_id:
            await asyncio.sleep(0.01)
        surface.engine.finish(next(iter(surface.engine.videos_by_id)))

    rendering = asyncio.create_task(render())
    video = await client.videos.create_and_poll(model="sora-2", prompt='a "quoted"\nline: ü ✓ 飞机', seconds="8")
    await rendering
    assert (video.status, video.seconds, video.prompt) == ("completed", "8", 'a "quoted"\nline: ü ✓ 飞机')
    content = await client.videos.download_content(video.id)
    target = tmp_path / "video.mp4"
    await asyncio.to_thread(content.write_to_file, target)
    assert await asyncio.to_thread(target.read_bytes) == MP4


@pytest.mark.parametrize("given", [("a.png", PNG, "image/png"), PNG, io.BytesIO(PNG)], ids=["named", "bytes", "file"])
async def test_create_with_a_file(surface: Surface, client: AsyncOpenAI, given: object) -> None:
    """Input references arrive byte for byte, whatever the SDK calls them."""
    await client.videos.create(prompt="p", input_reference=given)  # type: ignore[arg-type]
    [content] = surface.engine.received[-1].files.values()
    assert content == PNG
    assert [upload.param for upload in surface.engine.received[-1].ask.images] == ["input_reference"]


async def test_extra_bodies_arrive_as_meant(surface: Surface, client: AsyncOpenAI) -> None:
    """extra_body survives the SDK's form: objects, lists, booleans, numbers; and known fields in it are read."""
    await client.videos.create(
        prompt="p",
        seconds=8,  # type: ignore[arg-type]
        extra_body={
            "input_reference": {"image_url": "https://h/a.png"},
            "seed": 7,
            "generate_audio": True,
            "metadata": {"deep": {"er": [1, 2]}, "on": False, "half": 0.5, "name": "x"},
            "camera": [{"move": "left", "by": 2}, {"move": "up", "by": 3}],
            "tags": ["a", "b"],
            "nothing": None,
        },
    )
    ask = surface.engine.received[-1].ask
    assert (ask.seconds, ask.seed, ask.audio) == (8, 7, True)
    assert [upload.url for upload in ask.images] == ["https://h/a.png"]
    assert ask.metadata == {"deep": {"er": [1, 2]}, "on": False, "half": 0.5, "name": "x"}
    assert ask.extra == {"camera": [{"move": "left", "by": 2}, {"move": "up", "by": 3}], "tags": ["a", "b"]}


async def test_follow_ups(surface: Surface, client: AsyncOpenAI) -> None:
    """Remix, edit, extend and characters as the SDK sends them."""
    source = surface.engine.finish(surface.engine.add().id)
    remix = await client.videos.remix(source.id, prompt="again")
    assert remix.remixed_from_video_id == source.id
    await client.videos.edit(prompt="p", video=("v.mp4", b"video", "video/mp4"))
    assert surface.engine.received[-1].files == {"v.mp4": b"video"}
    await client.videos.extend(prompt="p", seconds="4", video=b"video")
    assert surface.engine.received[-1].files == {"upload": b"video"}
    character = await client.videos.create_character(name="Max", video=b"video")
    assert (await client.videos.get_character(str(character.id))).name == "Max"


async def test_list_retrieve_and_delete(surface: Surface, client: AsyncOpenAI) -> None:
    """Three pages give each video once; a deleted one is gone."""
    ids = [surface.engine.add().id for _ in range(7)]
    assert [video.id async for video in client.videos.list(limit=3)] == ids[::-1]
    assert [video.id async for video in client.videos.list(limit=3, order="asc")] == ids
    deleted = await client.videos.delete(ids[0])
    assert (deleted.id, deleted.object, deleted.deleted) == (ids[0], "video.deleted", True)
    with pytest.raises(openai.NotFoundError) as caught:
        await client.videos.retrieve(ids[0])
    assert (caught.value.code, caught.value.type) == ("video_not_found", "invalid_request_error")
    assert str(caught.value.request_id).startswith("req_")
    with pytest.raises(openai.NotFoundError):
        await client.videos.retrieve("a/b")


async def test_errors_are_the_sdks_own(surface: Surface, client: AsyncOpenAI) -> None:
    """Refusals raise the SDK's classes with param and code, and what must not be repeated is sent once."""
    with pytest.raises(openai.BadRequestError) as bad:
        await client.videos.create(prompt="p", size="auto")  # type: ignore[arg-type]
    assert bad.value.param == "size"
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").videos.create(prompt="p", input_reference=PNG * 100)
    surface.engine.fail = RuntimeError("broken in the middle")
    before = len(surface.engine.received)
    with pytest.raises(openai.InternalServerError):
        await client.videos.create(prompt="p")
    assert len(surface.engine.received) == before + 1


async def test_long_prompts_survive(surface: Surface, client: AsyncOpenAI) -> None:
    """32,000 characters beyond the basic plane arrive whole, in a form and in JSON."""
    prompt = "🎬" * 32_000
    await client.videos.create(prompt=prompt)
    await surface.call("POST", "/v1/videos", json={"prompt": prompt})
    await surface.call("POST", "/v1/videos", data={"prompt": prompt})
    assert [received.ask.prompt == prompt for received in surface.engine.received] == [True] * 3
