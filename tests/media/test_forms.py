"""Forms: whatever an upstream takes, it gets the picture that was sent, and no byte is changed without need."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from proxy.errors import InvalidRequest
from proxy.inputs import Picture, PictureForm
from proxy.media import forms, pictures
from tests.media.looks import ALIKE, TURNED, far, file_of, look, motif, opened

KINDS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
TYPES = st.lists(st.sampled_from(sorted(KINDS.values())), min_size=1, max_size=3, unique=True).map(tuple)
LONGEST = st.none() | st.integers(220, 400)
# Not both a lower bound for the sides and an upper one for the bytes: there may be no such picture.
FORMS = st.builds(
    PictureForm, media_types=TYPES, max_side=LONGEST, max_bytes=st.none() | st.integers(2_500, 20_000)
) | st.builds(PictureForm, media_types=TYPES, max_side=LONGEST, min_side=st.integers(20, 140))
NOISE = Image.effect_noise((200, 120), 100).convert("RGB")


async def taken(data: bytes, url: str | None = None) -> Picture:
    return replace(await pictures.inspect(data), url=url)


def must_change(picture: Picture, orientation: int, form: PictureForm) -> bool:
    sides = picture.width, picture.height
    return (
        orientation != 1
        or picture.media_type not in form.media_types
        or max(sides) > (form.max_side or 10**9)
        or min(sides) < (form.min_side or 0)
        or len(picture.data) > (form.max_bytes or 10**9)
    )


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    size=st.sampled_from([(96, 64), (64, 96), (300, 200), (500, 330)]),
    orientation=st.integers(1, 8),
    transparent=st.booleans(),
    form=FORMS,
)
def test_any_picture_in_any_form(
    kind: str, size: tuple[int, int], orientation: int, transparent: bool, form: PictureForm
) -> None:
    """It shows the same, upright; it keeps every bound; nothing changes that need not; and it is the same each time."""
    image = motif(*size, transparent=transparent and kind != "JPEG")
    data = file_of(image, kind, orientation)

    async def run() -> None:
        picture = await taken(data, "https://example.com/a")
        made = await forms.formed(picture, form)
        if not must_change(picture, orientation, form):
            assert made is picture
            return
        assert made.url is None
        assert made.media_type in form.media_types
        found = opened(made.data)
        assert KINDS[str(found.format)] == made.media_type
        assert found.size == (made.width, made.height)
        assert found.getexif().get(0x0112, 1) == 1
        assert len(made.data) <= (form.max_bytes or 10**9)
        assert min(found.size) >= (form.min_side or 0)
        assert max(found.size) <= (form.max_side or 10**9)
        assert abs(found.width / found.height - image.width / image.height) < 0.05
        assert far(look(found), look(image)) <= ALIKE
        assert await forms.formed(picture, form) == made
        assert await forms.formed(made, form) is made

    asyncio.run(run())


def test_the_looks_of_other_pictures_are_far() -> None:
    """What the tests here compare by tells a turned, a mirrored and another picture from the right one."""
    image = motif()
    for turn in range(2, 9):
        assert far(look(TURNED[turn](image)), look(image)) > 2 * ALIKE, turn
    assert far(look(NOISE), look(image)) > 2 * ALIKE


async def test_what_is_transparent_stays_so_or_becomes_white() -> None:
    """A transparent part is white in a JPEG, and transparent where the form allows that."""
    picture = await taken(file_of(motif(transparent=True)))
    made = await forms.formed(picture, PictureForm(media_types=("image/jpeg",)))
    assert min(opened(made.data).convert("RGB").getpixel((90, 5))) > 240  # type: ignore[type-var, arg-type]
    for media_types in (("image/webp",), ("image/png", "image/jpeg", "image/webp")):
        heavy = await taken(file_of(_noisy_hole()))
        made = await forms.formed(heavy, PictureForm(media_types=media_types, max_bytes=30_000))
        assert made.media_type == "image/webp"
        assert opened(made.data).convert("RGBA").getpixel((195, 5))[3] == 0  # type: ignore[index]


def _noisy_hole() -> Image.Image:
    image = NOISE.copy()
    image.putalpha(255)
    image.paste((0, 0, 0, 0), (150, 0, 200, 60))
    return image


async def test_a_heavy_png_becomes_a_jpeg_before_it_becomes_small() -> None:
    """Quality goes before size, and size only where quality does not do; a form of PNG alone gets a smaller PNG."""
    picture = await taken(file_of(NOISE))
    half = PictureForm(media_types=("image/png", "image/jpeg"), max_bytes=len(picture.data) // 2)
    made = await forms.formed(picture, half)
    assert (made.media_type, made.width, made.height) == ("image/jpeg", 200, 120)
    assert len(made.data) > half.max_bytes * 0.5  # type: ignore[operator]
    tiny = await forms.formed(picture, replace(half, max_bytes=2_000))
    assert (tiny.media_type, tiny.width < 200) == ("image/jpeg", True)
    png = await forms.formed(picture, replace(half, media_types=("image/png",)))
    assert (png.media_type, png.width < 200) == ("image/png", True)
    assert len(png.data) > half.max_bytes * 0.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("form", "size", "words"),
    [
        (PictureForm(max_bytes=50), (96, 64), "below 50 bytes"),
        (PictureForm(max_bytes=500, min_side=60), (96, 64), "below 500 bytes"),
        (PictureForm(min_side=100, max_side=200), (300, 20), "at least 100 pixels and at most 200"),
        (PictureForm(min_side=4000), (96, 64), "at least 4000 pixels;"),
    ],
)
async def test_what_cannot_be_done_names_the_limit(form: PictureForm, size: tuple[int, int], words: str) -> None:
    """A form that this picture cannot have is a 400 that blames the field and says which bound it was."""
    picture = await taken(file_of(NOISE.resize(size)))
    with pytest.raises(InvalidRequest) as caught:
        await forms.formed(picture, form, param="last_frame")
    assert (caught.value.param, caught.value.status) == ("last_frame", 400)
    assert words in caught.value.message


async def test_colours_keep_their_meaning() -> None:
    """A profile goes along where the colours are written as they were, and not where they were changed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jpeg = PictureForm(media_types=("image/jpeg",))
    made = await forms.formed(await taken(file_of(motif(), "PNG", icc_profile=profile)), jpeg)
    assert opened(made.data).info.get("icc_profile") == profile
    for mode, kind in (("CMYK", "JPEG"), ("L", "PNG")):
        picture = await taken(file_of(motif().convert(mode), kind, icc_profile=profile))
        made = await forms.formed(picture, PictureForm(media_types=("image/webp",)))
        assert "icc_profile" not in opened(made.data).info
        assert far(look(opened(made.data)), look(motif().convert(mode).convert("RGB"))) <= ALIKE


async def test_odd_colours_can_be_formed() -> None:
    """Palettes, bits, 16 bits and grey with transparency have every form."""
    for mode in ("P", "1", "I;16", "LA", "L"):
        file = BytesIO()
        (Image.new(mode, (64, 48), 40_000) if mode == "I;16" else motif().convert(mode)).save(file, "PNG")
        picture = await taken(file.getvalue())
        for media_type in KINDS.values():
            made = await forms.formed(picture, PictureForm(media_types=(media_type,), max_side=32))
            assert (made.media_type, max(opened(made.data).size)) == (media_type, 32)


async def test_nothing_private_is_written_again() -> None:
    """A picture that is written again has neither comments nor EXIF."""
    exif = Image.Exif()
    exif[0x010E] = "private words"
    exif[0x0112] = 6
    picture = await taken(file_of(motif(), "JPEG", comment=b"private words", exif=exif))
    assert b"private words" in picture.data
    made = await forms.formed(picture, PictureForm())
    assert made is not picture
    assert b"private words" not in made.data
