"""Input pictures: what is taken and refused, and what a fit changes."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from proxy.errors import InvalidRequest
from proxy.media import pictures

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def scene(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right, a green band at the top."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    image.paste((0, 255, 0), (0, 0, width, height // 4))
    return image.convert(mode)


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 100).convert("RGB")


def near(found: Any, expected: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(found, expected, strict=True))


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is huge and has next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def frames(kind: str) -> bytes:
    return saved(scene(), kind, save_all=True, append_images=[scene().rotate(90)], duration=100)


async def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await pictures.inspect(data, param="image")
    assert caught.value.param == "image"
    assert caught.value.status == 400
    return caught.value.message


# ---------------------------------------------------------------- what is taken


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(64, 48), (1, 1), (1, 500)])
async def test_still_pictures_are_taken_by_their_bytes(kind: str, size: tuple[int, int]) -> None:
    """JPEG, PNG and WebP of any size are told by their bytes, which stay as they are."""
    data = saved(scene(*size) if size == (64, 48) else Image.new("RGB", size), kind)
    picture = await pictures.inspect(data)
    assert (picture.media_type, picture.width, picture.height) == (FORMATS[kind], *size)
    assert picture.data is data


@pytest.mark.parametrize(
    "data",
    [
        saved(scene(mode="CMYK"), "JPEG"),
        saved(scene(mode="L"), "JPEG"),
        saved(noise(300, 200), "JPEG", progressive=True),
        saved(scene(mode="RGBA"), "PNG"),
        saved(scene(mode="LA"), "PNG"),
        saved(scene(mode="P"), "PNG"),
        saved(scene(mode="1"), "PNG"),
        saved(Image.new("I;16", (64, 48), 40_000), "PNG"),
        saved(scene(), "PNG") + b"<script>alert(1)</script>",
        saved(scene(mode="RGBA"), "WEBP", lossless=True),
    ],
    ids=["cmyk", "grey", "progressive", "rgba", "la", "palette", "bits", "16 bits", "polyglot", "lossless"],
)
async def test_odd_but_sound_pictures_are_taken_and_fit(data: bytes) -> None:
    """Every colour mode decodes, and can be fitted to a size in its own format."""
    picture = await pictures.inspect(data)
    for mode in ("cover", "contain"):
        fitted = await pictures.fit(picture, 32, 32, mode)
        assert (fitted.width, fitted.height, fitted.media_type) == (32, 32, picture.media_type)
        assert opened(fitted.data).size == (32, 32)
        assert opened(fitted.data).mode in ("L", "RGB", "RGBA")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kind", FORMATS)
async def test_a_truncated_picture_is_refused_wherever_it_is_cut(kind: str) -> None:
    """A picture cut at any tenth, or near its beginning, is refused in words for people."""
    data = saved(noise(200, 200), kind)
    for length in (*range(12, 60), *(len(data) * tenth // 10 for tenth in range(1, 10))):
        assert "cannot be decoded (it is damaged or cut off); send" in await refusal(data[:length])
    assert "is empty" in await refusal(b"")


async def test_png_with_too_few_rows_is_refused() -> None:
    """A PNG whose chunks are sound but whose pixels end early is refused."""
    assert "cannot be decoded" in await refusal(bomb(2000, 2000))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (saved(scene(), "GIF"), "is a GIF"),
        (saved(scene(), "BMP"), "is a BMP"),
        (saved(scene(), "TIFF"), "is a TIFF"),
        (saved(scene(), "ICO"), "is an ICO"),
        (saved(scene(), "AVIF"), "is an AVIF"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "is a HEIC"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00", "is a video"),
        (b"%PDF-1.7", "is a PDF"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG"),
        (b"<!DOCTYPE html><p>", "is an HTML page"),
        (b'{"error": "no"}', "is JSON"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "is not a picture"),
        (b"words", "is not a picture"),
        (b"", "is empty"),
    ],
)
async def test_other_formats_are_named(data: bytes, words: str) -> None:
    """What is no JPEG, PNG or WebP is refused with what it is and what to send."""
    message = await refusal(data)
    assert words in message
    assert "JPEG, PNG or WebP" in message


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
async def test_animations_are_refused(kind: str) -> None:
    """Animated GIF, WebP and PNG are refused, each with the reason."""
    assert ("is a GIF" if kind == "GIF" else "is animated") in await refusal(frames(kind))


async def test_a_photograph_with_a_second_picture_inside_is_one_picture() -> None:
    """Phones put several pictures into a JPEG (MPO); the first counts."""
    data = saved(scene(), "MPO", save_all=True, append_images=[scene()])
    assert (await pictures.inspect(data)).media_type == "image/jpeg"


@pytest.mark.parametrize("damage", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\x00\x00\x00WEBPVP8 "])
async def test_a_head_alone_is_refused(damage: bytes) -> None:
    """The right first bytes in front of rubbish are refused."""
    assert "cannot be decoded" in await refusal(damage + b"rubbish" * 50)


async def test_pixels_are_counted_before_they_are_decoded() -> None:
    """A picture beyond the limit is refused by its header, whatever is behind it."""
    message = await refusal(bomb(50_000, 50_000))
    assert "50000x50000" in message
    with pytest.raises(InvalidRequest, match="at most 0 million"):
        await pictures.inspect(saved(scene(), "PNG"), max_pixels=64 * 48 - 1)
    assert await pictures.inspect(saved(scene(), "PNG"), max_pixels=64 * 48)
    with pytest.raises(InvalidRequest, match="64x48"):
        await pictures.inspect(saved(scene(), "WEBP"), max_pixels=64 * 48)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_and_damage_cost_no_memory_and_no_words() -> None:
    """Refusing bombs and truncated large pictures takes less than 64 MiB, and prints nothing."""
    code = """
import asyncio
from PIL import Image
from proxy.errors import InvalidRequest
from proxy.media import pictures
from tests.media.test_pictures import bomb, saved

def resident(word):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(word)) // 1024

async def main():
    for data in bad:
        try:
            await pictures.inspect(data)
        except InvalidRequest:
            continue
        raise SystemExit("taken")

large = Image.new("RGB", (4500, 4500))
bad = [bomb(50_000, 50_000), bomb(12_000, 12_000), bomb(60_000, 2_000), saved(large, "WEBP")]
bad += [data[: len(data) * 9 // 10] for data in (saved(large, kind) for kind in ("PNG", "JPEG"))]
bad.append(saved(large.crop((0, 0, 3900, 3900)), "WEBP")[:-100])
del large
before = resident("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
asyncio.run(main())
print(resident("VmHWM") - before)
"""
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert int(result.stdout) < 64


# ---------------------------------------------------------------- upright


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_turned_picture_comes_out_upright(kind: str, orientation: int) -> None:
    """For each EXIF orientation the size is the upright one, and a fit stores the picture upright, without EXIF."""
    upright = scene(64, 48)
    undo: dict[int, Callable[[Image.Image], Image.Image]] = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(undo[orientation](upright), kind, exif=exif)
    picture = await pictures.inspect(data)
    assert (picture.width, picture.height) == (64, 48)
    fitted = await pictures.fit(picture, 64, 48, "exact")
    assert (fitted is picture) is (orientation == 1)
    stored = opened(fitted.data)
    assert stored.size == (64, 48)
    assert stored.getexif().get(0x0112, 1) == 1
    pixels = stored.convert("RGB")
    assert near(pixels.getpixel((8, 40)), (255, 0, 0))
    assert near(pixels.getpixel((56, 40)), (0, 0, 255))
    assert near(pixels.getpixel((8, 4)), (0, 255, 0))


@pytest.mark.filterwarnings("ignore")
async def test_broken_exif_is_no_reason_to_refuse() -> None:
    """Rubbish where the EXIF should be counts as upright."""
    data = saved(scene(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff rubbish")
    picture = await pictures.inspect(data)
    assert await pictures.fit(picture, 64, 48) is picture


# ---------------------------------------------------------------- fitting


async def test_what_fits_stays_as_it_is() -> None:
    """A picture of the right size is returned itself in every mode."""
    picture = await pictures.inspect(saved(scene(), "PNG"))
    for mode in ("cover", "contain", "exact"):
        assert await pictures.fit(picture, 64, 48, mode) is picture


async def test_exact_refuses_another_size() -> None:
    """The sentence is OpenAI's, the parameter the one to blame."""
    picture = await pictures.inspect(saved(scene(), "PNG"))
    with pytest.raises(InvalidRequest, match="Inpaint image must match the requested width and height") as caught:
        await pictures.fit(picture, 48, 64, "exact")
    assert caught.value.param == "input_reference"


@pytest.mark.parametrize("kind", FORMATS)
async def test_cover_cuts_what_sticks_out(kind: str) -> None:
    """Cover keeps the middle and fills the whole."""
    picture = await pictures.inspect(saved(scene(400, 100), kind))
    image = opened((await pictures.fit(picture, 100, 100, "cover")).data).convert("RGB")
    assert image.size == (100, 100)
    assert near(image.getpixel((10, 60)), (255, 0, 0))
    assert near(image.getpixel((90, 60)), (0, 0, 255))
    assert near(image.getpixel((50, 5)), (0, 255, 0))


@pytest.mark.parametrize("kind", FORMATS)
async def test_contain_adds_black_bars(kind: str) -> None:
    """Contain shows the whole, with black above and below."""
    picture = await pictures.inspect(saved(scene(400, 100), kind))
    image = opened((await pictures.fit(picture, 200, 200, "contain")).data).convert("RGB")
    assert image.size == (200, 200)
    for place, colour in (((100, 10), (0, 0, 0)), ((100, 190), (0, 0, 0)), ((10, 110), (255, 0, 0))):
        assert near(image.getpixel(place), colour)


async def test_extreme_shapes_fit() -> None:
    """A line of pixels can be covered and contained."""
    picture = await pictures.inspect(saved(Image.new("RGB", (1, 20_000), "white"), "PNG"))
    for mode in ("cover", "contain"):
        assert opened((await pictures.fit(picture, 1280, 720, mode)).data).size == (1280, 720)


async def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    """A mid grey of 16 bits stays a mid grey."""
    picture = await pictures.inspect(saved(Image.new("I;16", (64, 48), 32_768), "PNG"))
    assert opened((await pictures.fit(picture, 32, 32)).data).getpixel((5, 5)) == 128


async def test_words_in_a_picture_are_dropped() -> None:
    """A fit leaves out what the client's camera or editor wrote into the picture."""
    exif = Image.Exif()
    exif[0x010E] = "private words"
    picture = await pictures.inspect(saved(scene(), "JPEG", comment=b"private words", exif=exif))
    assert b"private words" in picture.data
    assert b"private words" not in (await pictures.fit(picture, 32, 32)).data


async def test_the_colour_profile_is_kept() -> None:
    """A fitted picture keeps the profile that its colours are meant in, and a fit forgets the client's address."""
    from dataclasses import replace

    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in FORMATS:
        picture = await pictures.inspect(saved(scene(), kind, icc_profile=profile))
        fitted = await pictures.fit(replace(picture, url="https://example.com/a.png"), 32, 32)
        assert opened(fitted.data).info.get("icc_profile") == profile
        assert fitted.url is None
