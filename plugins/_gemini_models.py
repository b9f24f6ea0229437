"""What the models of the Gemini API can do: Gemini Omni, and Veo as gateways still serve it.

https://ai.google.dev/gemini-api/docs/omni and https://ai.google.dev/gemini-api/docs/video
"""

from __future__ import annotations

from typing import Final

from proxy import Model

from ._google import FAST, LITE, MOST_REFERENCES, SIZES, SIZES_4K, STANDARD, veo

EXTENSIONS: Final = tuple(range(3, 11))
"""Seconds that one extension of a video of Omni may add."""


def omni(longest: int) -> Model:
    """A model of Gemini Omni. Only the price of 720p is known, and that not from Google."""
    return Model(
        seconds=tuple(range(3, longest + 1)),
        extend_seconds=EXTENSIONS,
        default_seconds=8,
        sizes=(*SIZES_4K, "640x360", "360x640"),
        max_images=3,
        last_frame=True,
        audio=True,
        prices={"720p": 0.10},
    )


def older(seconds: tuple[int, ...], sizes: tuple[str, ...], *, audio: bool) -> Model:
    """A model of Veo 2 or 3.0, which goes on from one picture and extends nothing."""
    return Model(seconds=seconds, default_seconds=8, sizes=sizes, max_images=1, audio=audio, native=())


OMNI: Final = {"gemini-omni-1.2-flash": omni(15), "gemini-omni-1.1-flash": omni(10)}

VEO: Final = {
    "veo-3.1-generate-preview": veo(SIZES_4K, MOST_REFERENCES, STANDARD),
    "veo-3.1-fast-generate-preview": veo(SIZES_4K, MOST_REFERENCES, FAST),
    "veo-3.1-lite-generate-preview": veo(SIZES, 1, LITE),
    # In 1080p they are wide only.
    "veo-3.0-generate-001": older((4, 6, 8), SIZES[:3], audio=True),
    "veo-3.0-fast-generate-001": older((4, 6, 8), SIZES[:3], audio=True),
    "veo-2.0-generate-001": older((5, 6, 8), SIZES[:2], audio=False),
}
