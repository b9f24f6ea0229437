"""The demo channel: its files, what it takes, what it makes of pictures, remixes, edits, extensions, characters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest
from PIL import Image

from proxy import (
    ABSENT,
    Clip,
    InvalidRequest,
    Picture,
    UpstreamJob,
)
from tests.plugins.demo_bench import (
    DAY,
    NIGHT,
    Start,
    ask,
    brightness,
    difference,
    ended,
    film,
    guarded,
    likeness,
    photograph,
    pictured,
    plugin,
    starter,
    stored,
)


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[None]:
    """Blocking calls in the event loop raise, those of the plugin too."""
    with guarded():
        yield


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts demo channels on one folder."""
    async with starter(tmp_path / "demo") as started:
        yield started


def boxes(data: bytes) -> list[bytes]:
    """The names of the outer boxes of an MP4 (ISO/IEC 14496-12, 4.2)."""
    found, at = [], 0
    while at < len(data):
        found.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return found


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize(("size", "seconds", "fps"), [("96x128", 1, 24), ("128x72", 3, 10), ("64x66", 2, 30)])
async def test_file_is_a_real_film(start: Start, size: str, seconds: int, fps: int) -> None:
    """H.264, yuv420p, the size, frames and seconds that were ordered, the index in front, a key frame each second."""
    channel = await start(fps=fps)
    job = await ended(channel, await channel.create(ask(size=size, seconds=seconds)))
    source = await channel.content(job, "video")

    def look() -> None:
        with av.open(str(source.path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert f"{stream.codec_context.width}x{stream.codec_context.height}" == size
            assert (stream.frames, container.duration) == (seconds * fps, seconds * 1_000_000)
            frames = list(container.decode(stream))
        assert [round(frame.time * fps) for frame in frames] == list(range(seconds * fps))
        keys = [number for number, frame in enumerate(frames) if frame.key_frame]
        assert keys[0] == 0
        assert max(b - a for a, b in zip([*keys], [*keys[1:], seconds * fps], strict=True)) <= fps
        names = boxes(source.path.read_bytes())
        assert names.index(b"moov") < names.index(b"mdat")
        assert difference(frames[0].to_image(), frames[-1].to_image()) > 1

    await asyncio.to_thread(look)


async def test_colours_survive_encoding(start: Start) -> None:
    """What a player shows are the colours that were painted."""
    channel = await start()
    image = photograph()
    frames = await film(channel, await channel.create(ask(images=(pictured(image),))))
    assert difference(frames[0], image) < 6
    assert likeness(frames[-1], image) > 0.3


async def test_stills(start: Start) -> None:
    """The thumbnail is a WebP of the film, the spritesheet a JPEG of many frames; each is made once."""
    channel = await start()
    job = await ended(channel, await channel.create(ask(seconds=2)))
    frames = await film(channel, job)
    small, sheet = await asyncio.gather(channel.content(job, "thumbnail"), channel.content(job, "spritesheet"))
    assert (small.media_type, sheet.media_type) == ("image/webp", "image/jpeg")

    def look() -> None:
        with Image.open(small.path) as picture:
            assert picture.format == "WEBP"
            assert difference(picture, frames[24]) < 6
        with Image.open(sheet.path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (96 * 5, 128 * 4))
            for tile, frame in ((0, 1), (19, 46)):
                left, top = tile % 5 * 96, tile // 5 * 128
                assert difference(picture.crop((left, top, left + 96, top + 128)), frames[frame]) < 8
        assert not list(channel.folder.glob("*.part"))

    await asyncio.to_thread(look)
    before = await asyncio.to_thread(lambda: small.path.stat().st_mtime_ns)
    again = await channel.content(job, "thumbnail")
    assert await asyncio.to_thread(lambda: again.path.stat().st_mtime_ns) == before


# ---------------------------------------------------------------- orders


@pytest.mark.parametrize("size", ["65x128", "128x65", "1922x128", "62x128", "128x4000"])
async def test_sizes_that_it_cannot_make_are_refused_at_once(start: Start, size: str) -> None:
    """Odd, tiny and huge sizes are the client's fault, name `size`, and leave nothing behind."""
    channel = await start()
    for refuse in (channel.check, channel.create):
        with pytest.raises(InvalidRequest) as caught:
            await _maybe(refuse(ask(size=size)))
        assert caught.value.param == "size"
    assert not await asyncio.to_thread(channel.folder.exists)


async def _maybe(result: Any) -> None:
    if result is not None:
        await result


async def test_models_and_limits() -> None:
    """It answers as sora-2, sora-2-pro and demo, 1 to 20 seconds, for nothing."""
    assert set(plugin().models) == {"sora-2", "sora-2-pro", "demo"}
    for model in plugin().models.values():
        assert (model.seconds, model.default_seconds, model.default_size) == (tuple(range(1, 21)), 4, "720x1280")
        assert (model.image, model.exact_image, model.audio, model.price) == (True, True, False, 0.0)
    for operation in ("remix", "edit", "extend", "character", "cancel", "delete", "recover"):
        assert plugin().can(operation)


@pytest.mark.parametrize("options", [{"rendering": 0}, {"fps": 0}, {"fps": 61}, {"rendering": 65}, {"colour": 1}])
async def test_wrong_options_are_refused(options: dict[str, int]) -> None:
    """Options out of range and unknown ones are mistakes in the file."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, plugin().options_class)


async def test_same_attempt_is_rendered_once(start: Start) -> None:
    """A create and its recovery are one job, also in a new process."""
    channel = await start()
    job = await channel.create(ask("[slow] a kite"))
    assert (await channel.recover(ask("[slow] a kite"))).id == job.id
    assert (await channel.create(ask("[slow] a kite"))).id == job.id
    assert (await channel.create(ask("[slow] a kite", attempt="attempt_2"))).id != job.id
    assert len(await asyncio.to_thread(lambda: list(channel.folder.glob("*.json")))) == 2


async def test_recovery_finds_or_begins(start: Start) -> None:
    """What was kept is found for every kind; a create that was not kept begins; any other was proved never taken."""
    channel = await start()
    source = await ended(channel, await channel.create(ask()))
    request = ask(NIGHT, "attempt_2", kind="remix")
    remix = await channel.remix(request, source)
    again = await start()
    found = await again.recover(request)
    assert (found.id, found.facts) == (remix.id, remix.facts)
    assert await again.recover(ask(NIGHT, "attempt_3", kind="remix")) is ABSENT
    assert (await ended(again, await again.recover(ask(attempt="attempt_4")))).status == "completed"
    assert await again.recover(ask("[429]", attempt="attempt_5")) is ABSENT


# ---------------------------------------------------------------- pictures, remixes, edits, extensions, characters


async def test_remix_keeps_seed_and_layout(start: Start) -> None:
    """A remix is the source's scene as the new prompt says; the source's picture too."""
    channel = await start()
    source = await ended(channel, await channel.create(ask(DAY, size="360x640")))
    remix = await ended(
        channel, await channel.remix(ask(NIGHT, "attempt_2", kind="remix", size="360x640"), stored(source))
    )
    stranger = await ended(channel, await channel.create(ask("a brass band", "attempt_3", size="360x640")))
    assert remix.facts["seed"] == source.facts["seed"] != stranger.facts["seed"]
    before, after, other = [(await film(channel, job))[12] for job in (source, remix, stranger)]
    assert brightness(after) < brightness(before) * 0.65
    assert likeness(before, after) > likeness(before, other) + 0.1
    assert (await channel.edit(ask(NIGHT, "attempt_4", kind="edit"), source)).facts["seed"] == source.facts["seed"]


async def test_remix_of_a_picture_starts_from_it(start: Start) -> None:
    """A remix of a film that began with a picture begins with it too, after the source was deleted as well."""
    channel = await start()
    source = await ended(channel, await channel.create(ask(images=(pictured(photograph()),))))
    remix = await channel.remix(ask(NIGHT, "attempt_2", kind="remix"), stored(source))
    await channel.delete(source)
    frames = await film(channel, remix)
    assert difference(frames[0], photograph()) < 6
    assert brightness(frames[-1]) < brightness(frames[0])


async def test_extension_is_the_source_and_more(start: Start) -> None:
    """An extension has the source's seconds and the added ones, its size and rate, and begins with its very frames."""
    channel = await start(fps=12)
    source = await ended(channel, await channel.create(ask(DAY)))
    channel = await start(fps=24)
    longer = await channel.extend(ask(NIGHT, "attempt_2", kind="extend", seconds=2, size="64x64"), stored(source))
    short, long = await film(channel, source), await film(channel, longer)
    assert (len(short), len(long), long[0].size) == (12, 36, (96, 128))
    assert max(difference(one, other) for one, other in zip(short, long, strict=False)) < 1.5
    assert brightness(long[-1]) < brightness(long[0]) * 0.65
    with pytest.raises(InvalidRequest) as caught:
        await channel.extend(ask(kind="extend", seconds=20), UpstreamJob(id="x", facts=source.facts | {"seconds": 101}))
    assert caught.value.param == "seconds"


async def test_uploaded_clips_are_started_from(start: Start, tmp_path: Path) -> None:
    """An edit and an extension of an uploaded clip begin with its first frame; what is no video is refused."""
    channel = await start()
    made = await ended(channel, await channel.create(ask(images=(pictured(photograph()),))))
    clip = Clip((await channel.content(made, "video")).path)
    for number, operation in enumerate((channel.edit, channel.extend)):
        job = await operation(ask(NIGHT, f"clip_{number}", video=clip, size="128x128"), None)
        first = (await film(channel, job))[0]
        assert first.size == (128, 128)
        assert difference(first, photograph().crop((0, 16, 96, 112)).resize((128, 128))) < 9
    broken = tmp_path / "broken.mp4"
    await asyncio.to_thread(broken.write_bytes, b"no film" * 99)
    with pytest.raises(InvalidRequest) as caught:
        await channel.edit(ask(video=Clip(broken)), None)
    assert caught.value.param == "video"


async def test_broken_pictures_are_refused(start: Start) -> None:
    """A picture that cannot be decoded, and more than one, are the client's fault."""
    channel = await start()
    whole = pictured(photograph())
    broken = Picture(whole.data[:200], "image/png", 96, 128)
    for images in ((broken,), (whole, whole)):
        with pytest.raises(InvalidRequest) as caught:
            await channel.create(ask(images=images))
        assert caught.value.param == "image"


async def test_characters_are_shown(start: Start) -> None:
    """A character's portrait is seen in a film that names it, also after a restart; an unknown one is refused."""
    channel = await start()
    made = await ended(
        channel, await channel.create(ask(images=(pictured(Image.new("RGB", (96, 128), (255, 0, 255))),)))
    )
    known = await channel.character("Mossy\ud800 \x00the cat", Clip((await channel.content(made, "video")).path))
    channel = await start()
    plain = (await film(channel, await channel.create(ask(attempt="plain"))))[0]
    shown = (await film(channel, await channel.create(ask(attempt="shown", characters=(known,)))))[0]
    corner = (0, 0, 30, 30)
    assert difference(plain.crop(corner), shown.crop(corner)) > 20
    for unknown in ("character_" + "0" * 24, "../demo", known + "\n"):
        with pytest.raises(InvalidRequest) as caught:
            await channel.create(ask(attempt="unknown", characters=(unknown,)))
        assert caught.value.param == "characters"


# ---------------------------------------------------------------- through the product

CHANNELS = "channels:\n  - {name: studio, type: demo, poll_every: 0.05}\n"


async def test_client_sees_films_and_trouble(launch: Any) -> None:
    """A client of the product gets a film, its stills, a remix, and the trouble that it asks for."""
    product = await launch(CHANNELS)
    made = await product.done((await product.create(prompt="a kite", seconds="1", size="128x96"))["id"])
    assert (made["status"], made["progress"], made["seconds"], made["size"]) == ("completed", 100, "1", "128x96")
    status, body, headers = await product.call("GET", f"/v1/videos/{made['id']}/content")
    assert (status, headers["content-type"], body[4:8]) == (200, "video/mp4", b"ftyp")
    status, part, _ = await product.call("GET", f"/v1/videos/{made['id']}/content", headers={"Range": "bytes=4-7"})
    assert (status, part) == (206, b"ftyp")
    for variant, kind in (("thumbnail", "image/webp"), ("spritesheet", "image/jpeg")):
        status, _, headers = await product.call("GET", f"/v1/videos/{made['id']}/content?variant={variant}")
        assert (status, headers["content-type"]) == (200, kind)
    status, remix, _ = await product.call("POST", f"/v1/videos/{made['id']}/remix", json={"prompt": NIGHT})
    assert (status, (await product.done(remix["id"]))["status"]) == (200, "completed")
    failed = await product.done((await product.create(prompt="[moderate]", seconds="1", size="64x64"))["id"])
    assert failed["error"]["code"] == "moderation_blocked"
    order = {"prompt": "[429]", "seconds": "1", "size": "64x64"}
    status, refused, headers = await product.call("POST", "/v1/videos", json=order)
    assert (status, refused["error"]["code"], headers["retry-after"]) == (429, "rate_limit_exceeded", "1")
    status, refused, _ = await product.call("POST", "/v1/videos", json=order | {"size": "65x64"})
    assert (status, refused["error"]["param"]) == (400, "size")
