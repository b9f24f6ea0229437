"""Small files that are a lot of work, and senders of many: each costs little, and holds up nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import struct
import time
import zlib
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from proxy.errors import InvalidRequest, RateLimited
from proxy.inputs import PictureForm
from proxy.media import files, forms, frames, pictures, pieces, turns
from proxy.media.inputs import Inputs
from proxy.media.turns import Turns
from proxy.records import Upload
from proxy.store import StoreBusy
from tests.media.looks import ALIKE, far, file_of, look, motif, opened
from tests.media.test_large_pngs import png

JPEG = file_of(motif(), "JPEG", progressive=True)
PNG = file_of(motif())
OWNER = "video_1"


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def segments(one: bytes, count: int) -> bytes:
    # Behind the first segment, by which a JPEG is told.
    return JPEG[:20] + one * count + JPEG[20:]


def scans(count: int) -> bytes:
    """The last scan of a progressive JPEG, again and again: ten bytes are a look at every pixel."""
    last = JPEG[JPEG.rindex(b"\xff\xda") : -2]
    return JPEG[:-2] + last * count + JPEG[-2:]


def counted(data: bytes) -> None:
    (pieces.check_jpeg if data[:1] == b"\xff" else pieces.check_png)(data)


AMPLIFIED = {
    "comments": segments(b"\xff\xfe\x00\x02", 30_000),
    "comments in a segment that Pillow enters": segments(b"\xff\xf0\xff\xf0" + b"\xff\xfe\x00\x02" * 16_000, 3),
    "comments behind an end": segments(b"\xff\xd9" + b"\xff\xfe\x00\x02", 30_000),
    "padding": segments(b"\xff", 30_000),
    "rubbish": segments(b"x", 30_000),
    "rubbish alone": JPEG[:20] + b"x" * 30_000,
    "restarts": segments(b"\xff\xd0", 30_000),
    "tables": segments(b"\xff\xdb\xff\xfe" + bytes([0] * 65 * 1008 + [0] * 12), 2),
    "resources": segments(b"\xff\xed\xff\xfe" + b"8BIM\x04\x04\x00\x00\x00\x00\x00\x00" * 5461, 5),
    "scans": scans(200),
    "chunks": PNG[:33] + chunk(b"prVt") * 30_000 + PNG[33:],
    "chunks behind the pixels": PNG[:-12] + chunk(b"prVt") * 30_000 + PNG[-12:],
    "profiles": PNG[:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20))) * 150 + PNG[33:],
}


@pytest.mark.parametrize("name", AMPLIFIED)
async def test_a_file_of_very_many_pieces_is_refused(name: str) -> None:
    """Before any decoder sees it, with a word on why."""
    with pytest.raises(InvalidRequest, match="too many pieces") as caught:
        await pictures.inspect(AMPLIFIED[name], param="image")
    assert caught.value.param == "image"


def test_what_real_files_have_is_no_reason() -> None:
    """Many scans, a film behind a JPEG, large profiles and pixels in small chunks are taken; so is every cut file."""
    noise = random.Random(1).randbytes(2**20)
    real = {
        "scans": scans(80),
        "film": JPEG + noise,
        "profile": segments(b"\xff\xe2\xff\xff" + noise[:65_533], 200),
        "pixels": PNG[:33]
        + b"".join(chunk(b"IDAT", noise[at : at + 1024]) for at in range(0, 2**20, 1024))
        + PNG[-12:],
        "words": PNG[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b")) * 90 + PNG[33:],
    }
    for data in (*real.values(), *(whole[:end] for whole in (JPEG, PNG) for end in range(len(whole)))):
        counted(data)


async def test_a_jpeg_of_several_passes_may_have_half_the_pixels() -> None:
    """All of it is in memory while it is decoded, so that it is bounded before."""
    image, limit = Image.new("RGB", (200, 100)), 30_000
    assert (await pictures.inspect(file_of(image, "JPEG"), max_pixels=limit)).width == 200
    with pytest.raises(InvalidRequest, match="200x100 pixels"):
        await pictures.inspect(file_of(image, "JPEG", progressive=True), max_pixels=limit)
    assert pieces.check_jpeg(JPEG)
    assert not pieces.check_jpeg(file_of(motif(), "JPEG"))


def test_the_pixels_of_a_png_are_read_in_proportion() -> None:
    """However large the chunk behind what is inflated: nothing of it is copied for each piece that comes out."""
    packed = zlib.compressobj(1)
    data = packed.compress(bytes(40 * 2**20)) + packed.flush(zlib.Z_FULL_FLUSH)
    head = png(1, 1, 8, 0, 0, b"")[:33]

    def cost(tail: int) -> float:
        file = head + chunk(b"IDAT", data + bytes(tail)) + chunk(b"IEND")
        begun, inflated = time.process_time(), 0
        for piece in pictures._pixels(file):
            inflated += len(piece)
            if inflated >= 39 * 2**20:
                break
        return time.process_time() - begun

    assert cost(32 * 2**20) < 4 * min(cost(0) for _ in range(3)) + 0.05


# ---------------------------------------------------------------- written again


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "L"])
async def test_a_large_picture_is_made_small_strip_by_strip(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decoded in strips looks as what is decoded at once, also where the sides do not divide."""
    image = motif(1201, 803, transparent=mode == "RGBA")
    image = Image.linear_gradient("L").resize((1201, 803)).convert("I;16") if mode == "I;16" else image.convert(mode)
    picture = await pictures.inspect(file_of(image))
    form = PictureForm(max_side=150)
    monkeypatch.setattr(pictures, "_STRIP", 20_000)
    made = await forms.formed(picture, form)
    monkeypatch.setattr(pictures, "_plain", lambda image, factor: pictures._simple(image))
    assert far(look(opened(made.data)), look(opened((await forms.formed(picture, form)).data))) <= ALIKE
    for mode_of_fit in ("cover", "contain"):
        wide = await pictures.fit(picture, 40, 90, mode_of_fit)
        assert opened(wide.data).size == (40, 90)


@pytest.mark.parametrize(
    ("media_type", "pixels", "size"),
    [("image/jpeg", 5000, (110, 46)), ("image/jpeg", 2000, (60, 25)), ("image/webp", 30_000, (120, 50))],
)
async def test_what_is_written_again_is_not_larger_than_a_video(
    media_type: str, pixels: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture beyond the bound is made smaller where it has to be written again, and is left alone elsewhere."""
    monkeypatch.setattr(forms, "_MOST_PIXELS", pixels)
    monkeypatch.setattr(forms, "_MOST_PIXELS_SLOW", pixels)
    picture = await pictures.inspect(file_of(motif(120, 50)))
    assert await forms.formed(picture, PictureForm()) is picture
    made = await forms.formed(picture, PictureForm(media_types=(media_type,)))
    assert (made.width, made.height) == size == opened(made.data).size
    kept = await forms.formed(picture, PictureForm(media_types=(media_type,), min_side=50))
    assert kept.height == 50


async def test_few_qualities_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best that fits is found in four tries; where none fits, in two for each size."""
    noise = Image.effect_noise((96, 96), 90)
    picture = await pictures.inspect(file_of(noise))
    sizes = {quality: len(file_of(noise, "JPEG", quality=quality)) for quality in (95, 90, 80, 70, 55, 40)}
    tried: list[int] = []
    encoded = pictures.encoded

    def counting(image: Image.Image, media_type: str, *, quality: int, profile: bytes | None) -> bytes:
        tried.append(quality)
        return encoded(image, media_type, quality=quality, profile=profile)

    monkeypatch.setattr(pictures, "encoded", counting)
    for quality, most in sizes.items():
        tried.clear()
        made = await forms.formed(picture, PictureForm(media_types=("image/jpeg",), max_bytes=most))
        assert (len(made.data), made.width) == (most, 96), quality
        assert len(tried) <= 5
    tried.clear()
    await forms.formed(picture, PictureForm(media_types=("image/jpeg",), max_bytes=sizes[40] // 2))
    assert tried[:2] == [95, 40]
    assert len(tried) <= 6


# ---------------------------------------------------------------- many at once


class Silent:
    """A fetcher of addresses that never answer."""

    def __init__(self) -> None:
        self.fetching = 0

    @asynccontextmanager
    async def fetch(self, url: str, *, timeout: Any) -> Any:
        self.fetching += 1
        await asyncio.Event().wait()
        yield


async def test_slow_addresses_of_one_tenant_hold_up_no_other(tmp_path: Path) -> None:
    """However many of them are asked for, few are fetched at once, and another tenant's picture is kept meanwhile."""
    silent = Silent()
    inputs = Inputs(tmp_path, silent)
    slow = [
        asyncio.create_task(inputs.picture(Upload(param="image", url="http://a"), owner=OWNER, tenant="slow"))
        for _ in range(40)
    ]
    try:
        async with asyncio.timeout(10):
            stored = await inputs.picture(Upload(param="image", data=PNG), owner="video_2", tenant="other")
        assert stored.width == motif().width
        assert 0 < silent.fetching <= 8
    finally:
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    # Their turns are free again.
    async with asyncio.timeout(10):
        await asyncio.gather(
            *(inputs.picture(Upload(param="image", data=PNG), owner=OWNER, tenant="slow") for _ in range(9))
        )


async def test_one_clip_of_a_tenant_is_looked_at_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two processes that look at videos are not both one tenant's."""
    looking: list[str] = []

    async def probe(path: Path, param: str) -> tuple[str, int, int]:
        looking.append(path.parent.name)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(frames, "probe", probe)
    inputs = Inputs(tmp_path, Silent())
    sent = [
        asyncio.create_task(inputs.clip(Upload(param="video", data=b"x"), owner=f"v{n}", tenant="ab"[n // 3]))
        for n in range(4)
    ]
    async with asyncio.timeout(10):
        while len(looking) < 2:
            await asyncio.sleep(0)
    for task in sent:
        task.cancel()
    await asyncio.gather(*sent, return_exceptions=True)
    assert sorted(looking) == ["v0", "v3"]


async def test_a_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has too much under way is told to come back, and is served again as soon as some of it is over."""
    monkeypatch.setattr(turns, "MOST", 2)
    line = Turns(2)
    async with line.of("a"):
        async with line.of("a"):
            with pytest.raises(RateLimited) as caught:
                async with line.of("a"):
                    raise AssertionError
            assert caught.value.retry_after == 1
            async with line.of("b"):
                pass
        async with line.of("a"):
            pass


@pytest.mark.parametrize("name", ["data", "url"])
async def test_a_full_disk_is_nobodys_fault(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a 503 that may be tried again, not a bad address or an error that nobody can explain."""

    class Full:
        @asynccontextmanager
        async def fetch(self, url: str, *, timeout: Any) -> Any:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield

    def full(data: bytes, folder: Path, name: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "keep", full)
    upload = Upload(param="image", data=PNG) if name == "data" else Upload(param="image", url="http://a")
    with pytest.raises(StoreBusy, match="No space left"):
        await Inputs(tmp_path, Full()).picture(upload, owner=OWNER)


async def test_a_frame_may_be_larger_than_what_clients_send(tmp_path: Path) -> None:
    """What the operator allows of clients is not held against a frame that was taken here."""
    limits = Inputs(tmp_path, Silent()).limits
    inputs = Inputs(tmp_path, Silent(), limits=type(limits)(max_bytes=100, max_pixels=10))
    with pytest.raises(InvalidRequest):
        await inputs.picture(Upload(param="video", data=PNG), owner=OWNER)
    stored = await inputs.frame(PNG, owner=OWNER)
    assert (await inputs.load_picture(stored)).data == PNG
    assert BytesIO(PNG).getvalue() == (tmp_path / stored.file).read_bytes()
