"""`client.files` of the official SDK against the routes of uploaded files, and a file's use in a request."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI

from tests.api.filing import Desk, opened_desk, picture
from tests.conftest import ADMIN_KEY, Launch

PUPPETS = Path(__file__).parents[1] / "engine" / "plugins"
PUPPET = "channels: [{name: p, type: puppet, models: [m]}]"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_desk(tmp_path) as made:
        yield made


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[AsyncOpenAI]:
    async with desk.client() as made:
        yield made


async def test_the_whole_life(desk: Desk, client: AsyncOpenAI, tmp_path: Path) -> None:
    """Created, waited for, retrieved, listed, downloaded, deleted: every method gets what the SDK's types say."""
    data = picture("JPEG")
    made = await client.files.create(
        file=("first frame.jpg", data, "image/jpeg"),
        purpose="vision",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", len(data), "first frame.jpg", "vision")
    assert (made.status, made.created_at, made.expires_at) == ("processed", int(desk.now), int(desk.now) + 3600)
    assert await client.files.wait_for_processing(made.id) == made
    assert await client.files.retrieve(made.id) == made
    assert (await client.files.list()).data == [made]
    content = await client.files.content(made.id)
    target = tmp_path / "copy.jpg"
    await asyncio.to_thread(content.write_to_file, target)
    assert await asyncio.to_thread(target.read_bytes) == data
    gone = await client.files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    for method in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            await method(made.id)
        assert (caught.value.code, caught.value.type) == ("not_found", "invalid_request_error")
    assert await desk.on_disk() == set()


@pytest.mark.parametrize(
    ("given", "name"),
    [(b"plain", "upload"), (io.BytesIO(b"plain"), "upload"), (("飞机.txt", b"plain"), "飞机.txt"), (Path, "note.txt")],
    ids=["bytes", "file", "named", "path"],
)
async def test_every_way_to_give_a_file(client: AsyncOpenAI, tmp_path: Path, given: object, name: str) -> None:
    """Bytes, an open file, a named one and a path arrive byte for byte, with the name that the SDK gives them."""
    if given is Path:
        given = tmp_path / "note.txt"
        await asyncio.to_thread((tmp_path / "note.txt").write_bytes, b"plain")
    made = await client.files.create(file=given, purpose="user_data")  # type: ignore[arg-type]
    assert (made.filename, made.bytes) == (name, 5)
    assert (await client.files.content(made.id)).content == b"plain"


async def test_lists(desk: Desk, client: AsyncOpenAI) -> None:
    """The SDK pages through all files, the newest first; order, purpose and a deleted cursor are heeded."""
    made = []
    for number in range(5):
        vision = number % 2 == 1
        one = await desk.made(picture() if vision else b"x", purpose="vision" if vision else "user_data")
        made.append(one["id"])
    await desk.made(who="bert")
    assert [one.id async for one in client.files.list(limit=2)] == made[::-1]
    assert [one.id async for one in client.files.list(limit=2, order="asc")] == made
    assert [one.id async for one in client.files.list(limit=1, purpose="vision")] == [made[3], made[1]]
    assert [one.id async for one in client.files.list(order="asc", purpose="user_data")] == made[::2]
    assert [one.id async for one in client.files.list(purpose="assistants")] == []
    page = await client.files.list(limit=3)
    assert ([one.id for one in page.data], page.has_more) == (made[:1:-1], True)
    await client.files.delete(made[2])
    assert [one.id async for one in client.files.list(after=made[2])] == [made[1], made[0]]
    page = await client.files.list(limit=2, after=made[2])
    assert ([one.id for one in page.data], page.has_more) == ([made[1], made[0]], False)


async def test_errors_are_the_sdks_own(desk: Desk, client: AsyncOpenAI) -> None:
    """Refusals raise the SDK's classes with param and code."""
    with pytest.raises(openai.BadRequestError) as bad:
        await client.files.create(file=b"x", purpose="batch")
    assert bad.value.param == "purpose"
    with pytest.raises(openai.BadRequestError) as bad:
        await client.files.create(file=b"x", purpose="vision")
    assert bad.value.param == "file"
    with pytest.raises(openai.BadRequestError) as bad:
        await client.files.create(
            file=b"x", purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3599}
        )
    assert bad.value.param == "expires_after.seconds"
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").files.create(file=b"x", purpose="user_data")
    assert await desk.on_disk() == set()


async def test_a_file_becomes_the_input_of_a_video(launch: Launch) -> None:
    """`input_reference={"file_id": …}` gives the upstream the very bytes, also after the file is deleted."""
    product = await launch(PUPPET, plugins=(PUPPETS,))
    data = picture("PNG", (1280, 720))
    async with AsyncOpenAI(base_url=f"{product.url}/v1", api_key=ADMIN_KEY, max_retries=0) as client:
        made = await client.files.create(file=("a.png", data), purpose="vision")
        reference = {"file_id": made.id}
        video = await product.create(model="m", input_reference=reference, size="1280x720")
        await client.files.delete(made.id)
        await product.until(video["id"], "completed")
        (request,) = product.channel("p").asked("create")
        assert [picture.data for picture in request.images] == [data]
        status, body, _ = await product.call(
            "POST", "/v1/videos", json={"prompt": "p", "model": "m", "input_reference": reference}
        )
        assert (status, body["error"]["param"]) == (400, "input_reference.file_id")
