"""What a `Model` says of lengths and prices, and the words for a size."""

from __future__ import annotations

import math
from typing import Any

import pytest

from proxy.models import Model, VideoRequest, resolution

TIERS = Model(
    price=0.4,
    prices={
        "silent": 0.2,
        "1080p": 0.6,
        "1080p silent": 0.3,
        "4k": 1.5,
        "1920x1080": 0.7,
        "1080x1920 silent": 0.25,
        "1664x1248": 0.65,
    },
)


@pytest.mark.parametrize(
    ("size", "audio", "price"),
    [
        ("1280x720", None, 0.4),
        ("1280x720", True, 0.4),
        ("1280x720", False, 0.2),
        ("1080x1920", None, 0.6),
        ("1920x1080", None, 0.7),
        ("1920x1080", True, 0.7),
        # The same of a resolution comes before another of the size, and a size without sound before all.
        ("1920x1080", False, 0.3),
        ("1080x1920", False, 0.25),
        ("1080x1080", False, 0.3),
        ("1664x1248", None, 0.65),
        # Where nothing is said of this size without sound, the price of the size holds and not that of silence.
        ("1664x1248", False, 0.65),
        ("3840x2160", None, 1.5),
        ("2160x3840", False, 1.5),
    ],
)
def test_the_price_of_a_size(size: str, audio: bool | None, price: float) -> None:
    """The most exact word wins: the size, then its short side, each first as `silent` where there is no sound."""
    assert TIERS.price_of(size, audio=audio) == price


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seconds": 5}, "seconds of a Model must be a tuple"),
        ({"sizes": "16:9"}, "sizes of a Model must be a tuple"),
        ({"native": "edit"}, "native of a Model must be a tuple"),
        ({"native": ("remx",)}, "some of remix, edit and extend"),
        ({"seconds": (0, 4)}, "whole numbers above 0"),
        ({"extend_seconds": (7.0,)}, "whole numbers above 0"),
        ({"sizes": ("1280X720",)}, "write 1280x720 or 16:9"),
        ({"default_size": "720p"}, "write 1280x720 or 16:9"),
        ({"prices": {"2160p": 1.5}}, "prices of a Model has '2160p'"),
        ({"price": -0.1}, "-0.1 is no price"),
        ({"prices": {"4k": math.nan}}, "nan is no price"),
        ({"price": "0.1"}, "'0.1' is no price"),
        ({"prices": {"silent 1080p": 1.5}}, "write 1920x1080, 1080p, 4k"),
    ],
)
def test_a_slip_in_a_table_is_told_where_it_is_made(fields: dict[str, Any], words: str) -> None:
    """What no request could ever match is a mistake of the plugin's table, not a limit."""
    with pytest.raises(ValueError, match=words):
        Model(**fields)


@pytest.mark.parametrize("audio", [None, True, False])
def test_a_price_without_tiers(audio: bool | None) -> None:
    """One price holds for all; none is not known, and a free one is a price."""
    assert Model(price=0.1).price_of("1280x720", audio=audio) == 0.1
    assert Model().price_of("1280x720", audio=audio) is None
    assert Model(prices={"720p": 0.0}).price_of("1280x720", audio=audio) == 0.0
    assert Model(prices={"4k": 1.5}).price_of("1280x720", audio=audio) is None


def test_lengths() -> None:
    """An extension has lengths of its own, or those of a new video; every other kind has those."""
    model = Model(seconds=(4, 8), extend_seconds=(5, 7))
    assert [model.lengths(kind) for kind in ("create", "remix", "edit", "extend")] == [(4, 8)] * 3 + [(5, 7)]
    assert Model(seconds=(4, 8)).lengths("extend") == (4, 8)
    assert Model(extend_seconds=(7,)).lengths("create") == ()
    assert Model().lengths("extend") == ()


@pytest.mark.parametrize(
    ("size", "word"),
    [
        ("1280x720", "720p"),
        ("720x1280", "720p"),
        ("1920x1080", "1080p"),
        ("1080x1080", "1080p"),
        ("3840x2160", "4k"),
        ("2160x3840", "4k"),
        ("2560x1440", "1440p"),
        ("854x480", "480p"),
        ("4096x2304", "2304p"),
    ],
)
def test_resolution(size: str, word: str) -> None:
    """The word is that of the short side, and 2160 has a name of its own; a request says the same."""
    request = VideoRequest(prompt="p", model="m", seconds=4, size=size, attempt_id="att_1")
    assert resolution(size) == request.resolution == word
