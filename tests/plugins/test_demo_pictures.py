"""What the demo channel paints."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.plugins.demo_bench import (
    DAY,
    NIGHT,
    brightness,
    described,
    difference,
    likeness,
    module,
    painted,
    photograph,
)

ANY_TEXT = st.text(st.characters(categories=("L", "M", "N", "P", "S", "Z", "C")), max_size=300)


def remixed(source: dict[str, Any], prompt: str) -> dict[str, Any]:
    """The facts of a remix, as the channel makes them."""
    words = module("_demo_words")
    part = {
        "at": 0,
        "text": words.clean(prompt),
        "accent": words.seed(prompt),
        "traits": {**source["parts"][-1]["traits"], **words.traits(prompt)},
    }
    return {**source, "parts": [part]}


def test_everything_moves() -> None:
    """Frames differ over time, and no frame is like the one before."""
    frames = painted(described("a paper plane"))
    assert difference(frames[0], frames[-1]) > 1
    assert all(one.tobytes() != other.tobytes() for one, other in pairwise(frames))


def test_the_same_prompt_looks_the_same() -> None:
    """The same facts give the same pictures, bit for bit."""
    facts = described("a paper plane", fps=4)
    again = json.loads(json.dumps(facts))
    assert [one.tobytes() for one in painted(facts)] == [one.tobytes() for one in painted(again)]


@pytest.mark.parametrize("other", ["a brass band", "a quiet library", "two otters", "an old tram"])
def test_another_prompt_looks_different(other: str) -> None:
    """Another prompt gives another picture, by far more than the letters."""
    one, two = painted(described("a paper plane", fps=1))[0], painted(described(other, fps=1))[0]
    top = (0, 0, 180, 240)
    assert difference(one.crop(top), two.crop(top)) > 8


def test_a_seed_fixes_the_layout() -> None:
    """Two prompts with one seed have the same outlines, and different texts."""
    one = painted(described("a paper plane", seed=7, fps=1))[0]
    two = painted(described("a brass band", seed=7, fps=1))[0]
    assert likeness(one, two) > 0.9
    assert one.crop((0, 260, 180, 320)).tobytes() != two.crop((0, 260, 180, 320)).tobytes()


@pytest.mark.parametrize("prompt", ["make it night", "in red", "in the snow", "now it rains: rain", "at sunset"])
def test_a_remix_shows_its_kinship(prompt: str) -> None:
    """A remix has its source's outlines more than any stranger has, and other colours than its source."""
    source = described(DAY, seconds=2, fps=4)
    before = painted(source)[6]
    after = painted(remixed(source, prompt))[6]
    strangers = [painted(described(text, seconds=2, fps=4))[6] for text in ("a brass band", "two otters", NIGHT)]
    assert likeness(before, after) > max(likeness(before, stranger) for stranger in strangers) + 0.15
    assert difference(before, after) > 6


def test_night_is_dark() -> None:
    """A remix that says night is much darker; one that says day after it is bright again."""
    source = described(DAY, fps=1)
    night = remixed(source, NIGHT)
    assert brightness(painted(night)[0]) < brightness(painted(source)[0]) * 0.6
    assert brightness(painted(remixed(night, "back to a bright day"))[0]) > brightness(painted(night)[0]) * 1.5


@pytest.mark.parametrize(
    ("word", "band"), [("red", 0), ("green", 1), ("blue", 2), ("rot", 0), ("绿", 1), ("青い海を蓝", 2)]
)
def test_a_colour_word_tints(word: str, band: int) -> None:
    """A colour word makes that colour the strongest of the three."""
    picture = painted(described(f"a house, {word}", fps=1))[0].crop((0, 0, 180, 240))
    means = [sum(channel.histogram()[level] * level for level in range(256)) for channel in picture.split()]
    assert means.index(max(means)) == band


def test_fast_is_faster_than_slow() -> None:
    """The word fast moves the land further in the same time than the word slow."""
    travelled = {}
    for word in ("fast", "slow"):
        facts = described(f"hills {word}", seed=3, seconds=1, fps=12)
        frames = painted(facts)
        band = (0, 150, 180, 250)
        travelled[word] = difference(frames[0].crop(band), frames[-1].crop(band))
    assert travelled["fast"] > travelled["slow"] * 1.3


def test_a_picture_is_the_first_frame_and_stays() -> None:
    """Frame 0 is the input picture itself; at the end it is still recognised, under what moves over it."""
    picture = photograph((180, 320))
    frames = painted(described("a paper plane", seconds=20, fps=2), backdrop=picture)
    assert frames[0].tobytes() == picture.tobytes()
    # It has grown by a tenth at the most: the part of it that is seen at the end.
    cut = 0.5 * (1 - 1 / 1.1)
    grown = picture.resize((180, 320), box=(180 * cut, 320 * cut, 180 * (1 - cut), 320 * (1 - cut)))
    stranger = painted(described("a paper plane", seconds=1, fps=1))[0]
    assert frames[-1].tobytes() != frames[-2].tobytes()
    assert difference(frames[-1].crop((0, 40, 180, 250)), grown.crop((0, 40, 180, 250))) < 30
    assert likeness(frames[-1], grown) > likeness(frames[-1], stranger) + 0.2


def test_a_last_frame_ends_the_film() -> None:
    """The film becomes the picture within its last second, and its last frame is the picture itself."""
    picture = photograph((180, 320))
    plain = painted(described("a paper plane", seconds=2, fps=4))
    frames = painted(described("a paper plane", seconds=2, fps=4), ending=picture)
    assert [frame.tobytes() for frame in frames[:4]] == [frame.tobytes() for frame in plain[:4]]
    away = [difference(frame, picture) for frame in frames[4:]]
    assert away == sorted(away, reverse=True)
    assert frames[-1].tobytes() == picture.tobytes()


def test_an_extension_begins_as_its_source() -> None:
    """The first part of an extended film is the source, frame by frame; then the new prompt takes over in a second."""
    source = described(DAY, seconds=2, fps=6)
    longer = {**source, "seconds": 4}
    later = remixed(source, NIGHT)["parts"][0] | {"at": 2}
    longer["parts"] = [*source["parts"], later]
    short, long = painted(source), painted(longer)
    assert len(long) == 24
    assert [frame.tobytes() for frame in short] == [frame.tobytes() for frame in long[:12]]
    assert brightness(long[12]) > brightness(long[15]) > brightness(long[-1])


@settings(deadline=None, max_examples=60)
@given(prompt=ANY_TEXT)
@example(prompt="")
@example(prompt="x" * 32_000)
@example(prompt="\ud800\udfff lone halves")
@example(prompt="שלום עולם، مرحبا بالعالم")
@example(prompt="👩‍👩‍👧‍👦🇩🇪🏳️‍🌈" * 40)
@example(prompt="Z̷̡͙a͝l̶g̸o" * 60)
@example(prompt="\x00\x07\u202e\ufeff\U0010ffff")
@example(prompt="東京の夜、雪が降る" * 30)
def test_any_prompt_is_painted(prompt: str) -> None:
    """No prompt breaks a render, and its facts are JSON that any reader takes."""
    facts = described(prompt, size=(64, 64), fps=2)
    text = json.dumps(facts, ensure_ascii=False).encode("utf-8")
    assert len(text) < 6000
    assert [frame.size for frame in painted(json.loads(text))] == [(64, 64)] * 2


@settings(deadline=None, max_examples=40)
@given(text=ANY_TEXT, width=st.integers(64, 500))
def test_lines_fit(text: str, width: int) -> None:
    """Wrapped lines are never wider than asked, and their letters are those of the text."""
    letters = module("_demo_text")
    shown = letters.drawable(module("_demo_words").clean(text))
    lines = letters.wrap(shown, 10, width, 500)
    assert lines is not None
    assert all(len(line) == 1 or letters._length(line, 10) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(shown.split())


@pytest.mark.parametrize("size", [(64, 64), (64, 1920), (1920, 64), (66, 130)])
def test_odd_shapes_are_painted(size: tuple[int, int]) -> None:
    """The smallest, the longest and the widest sizes work, with every land and weather."""
    for word in ("hills snow", "mountain rain", "city night", "sea petals", "desert", "forest night snow"):
        frames = painted(described(f"{word} and a long sentence that says very much about nothing", size=size, fps=1))
        assert frames[0].size == size


def test_every_land_has_its_own_outlines() -> None:
    """The words for the land change what is seen of it."""
    words = ("hills", "mountain", "city", "sea", "desert", "forest")
    seen = [painted(described(word, seed=5, size=(180, 320), fps=1))[0].crop((0, 120, 180, 250)) for word in words]
    pairs = [(one, other) for index, one in enumerate(seen) for other in seen[index + 1 :]]
    assert min(difference(one, other) for one, other in pairs) > 2


def test_the_prompt_can_be_read() -> None:
    """The letters are there: the lower part has pixels near white, and none without a prompt."""
    with_text = painted(described("night WWWW", size=(360, 640), fps=1))[0].crop((0, 560, 360, 640)).convert("L")
    without = painted(described("", size=(360, 640), fps=1))[0].crop((0, 560, 360, 640)).convert("L")
    assert sum(with_text.histogram()[230:]) > 200
    assert sum(without.histogram()[230:]) == 0


def test_transparent_and_turned_pictures() -> None:
    """A transparent picture comes on white, and one that says it lies on its side is put upright."""
    fitted = module("_demo_files").fitted
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert fitted(clear, (64, 64)).getpixel((5, 5)) == (255, 255, 255)
    turned = Image.new("RGB", (80, 40), "blue")
    turned.paste("red", (0, 0, 40, 40))
    turned.getexif()[0x0112] = 6
    upright = fitted(turned, (40, 80))
    assert upright.getpixel((20, 5)) == (255, 0, 0)
    assert upright.getpixel((20, 75)) == (0, 0, 255)
