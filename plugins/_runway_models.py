"""What the models of Runway can do, which words of its wire each of them knows, and what a second of them costs.

https://docs.dev.runwayml.com/api and https://docs.dev.runwayml.com/guides/pricing, with the request types of the
official SDK 5.24.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy import InvalidRequest, Model, UnsupportedOperation, VideoRequest

LARGEST_SEED: Final = 2**32 - 1
LONGEST_PROMPT: Final = 1000
"""UTF-16 code units that the models of `TERSE` take; other partners take more."""


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


EXTENDER: Final = "gemini_omni_flash_1.1"
"""The model whose `duration` is documented as what an extension adds to its source: it extends every video."""
THREE_TO_TEN: Final = tuple(range(3, 11))

GEN4: Final = words("1280x720 720x1280 1104x832 960x960 832x1104 1584x672")
HD: Final = words("1280x720 720x1280 1920x1080 1080x1920")
SEED_480: Final = words("640x640 752x560 560x752 992x432")
SEED_720: Final = words("1280x720 720x1280 960x960 1112x834 834x1112 1470x630")
SEED_1080: Final = words("1920x1080 1080x1920 1440x1440 1664x1248 1248x1664 2206x946")
SEED_4K: Final = words("3840x2160 2160x3840 3840x3840 3840x2880 2880x3840 3840x1646")
SEED_2: Final = (*SEED_720, *SEED_480, "864x496", "496x864")
SEED_25: Final = (*SEED_480, "854x480", "480x854")
KLING: Final = {
    "standard": words("1280x720 720x1280 960x960"),
    "pro": words("1920x1080 1080x1920 1440x1440"),
    "4k": words("3840x2160 2160x3840 2880x2880"),
}
KLING_4: Final = words("1280x720 720x1280 940x940 1460x624 1920x1080 1080x1920 1440x1440 2200x940")
GROK: Final = words("1280x720 720x1280 720x720 960x720 720x960 1920x1080 1080x1920 1080x1080 1440x1080 1080x1440")
RATIOS: Final = words("16:9 9:16 1:1 4:3 3:4 21:9")


def model(sizes: tuple[str, ...], seconds: tuple[int, ...] = (), **facts: Any) -> Model:
    usual = {"max_images": 1, "audio": False, "last_frame": True, "extend_seconds": THREE_TO_TEN}
    return Model(sizes=sizes, seconds=seconds, **{**usual, **facts})


def each(sizes: tuple[str, ...], price: float) -> dict[str, float]:
    return dict.fromkeys(sizes, price)


MODELS: Final[Mapping[str, Model]] = {
    "gen4.5": model(GEN4, tuple(range(2, 11)), last_frame=False, price=0.12),
    "gen4_turbo": model(GEN4, tuple(range(2, 11)), last_frame=False, price=0.05),
    "veo3.1": model(HD, (4, 6, 8), audio=True, price=0.40, prices={"silent": 0.20}),
    "veo3.1_fast": model(HD, (4, 6, 8), audio=True, price=0.15, prices={"silent": 0.10}),
    "kling2.5_turbo_pro": model((*HD, "720x720", "1440x1440"), (5, 10)),
    **{f"kling3.0_{tier}": model(sizes, audio=True) for tier, sizes in KLING.items()},
    **{f"klingO3_{tier}": model(sizes, audio=True) for tier, sizes in KLING.items()},
    "kling_4": model(KLING_4, audio=None),
    "seedance2": model(
        SEED_2 + SEED_1080 + SEED_4K, audio=True, price=0.36, prices=each(SEED_1080, 0.40) | each(SEED_4K, 1.50)
    ),
    "seedance2_fast": model(SEED_2, audio=True),
    "seedance2_mini": model(SEED_2, audio=True),
    "seedance2_5": model(
        SEED_720 + SEED_25 + SEED_1080, audio=True, price=0.30, prices=each(SEED_25, 0.20) | each(SEED_1080, 0.68)
    ),
    # Of each shape it makes 768p, and 2K for everything above.
    "hailuo3": model(RATIOS, audio=None, last_frame=False, price=0.15, prices={"720p": 0.10, "768p": 0.10}),
    "gemini_omni_flash": model(HD[:2], THREE_TO_TEN, audio=None, last_frame=False, price=0.10),
    "gemini_omni_flash_1.1": model((*HD, *words("640x360 360x640 3840x2160 2160x3840")), THREE_TO_TEN, audio=None),
    "grok_imagine_1_5": model(GROK, audio=None, last_frame=False),
    "aleph2": Model(image=False, audio=False, extend_seconds=THREE_TO_TEN, price=0.28),
}
UNLISTED: Final = Model(max_images=1, last_frame=True, extend_seconds=THREE_TO_TEN)
"""Any other model (wan3, happyhorse_1_0 and those to come) passes unlimited."""

TERSE: Final = frozenset(("gen4.5", "gen4_turbo", "veo3.1", "veo3.1_fast"))
SEEDED: Final = TERSE | {"aleph2", "seedance2", "seedance2_fast", "seedance2_mini", "seedance2_5"}

EDITORS: Final[Mapping[str, Mapping[str, str]]] = {
    "aleph2": {},
    "gemini_omni_flash": {},
    "gemini_omni_flash_1.1": {"mode": "edit"},
    "kling_4": {},
    # Its own length is what it wants to be told, and no other.
    "seedance2_5": {"mode": "edit", "duration": "auto"},
}
"""The models that change a video, each with the fields that say so."""
SOURCE: Final[Mapping[str, str]] = {"seedance2_5": "promptVideo"}
"""The field for that video, where it is not `videoUri`."""


def check_creation(request: VideoRequest) -> None:
    """Raise for what `MODELS` cannot say of a new video."""
    if request.model == "aleph2":
        raise UnsupportedOperation("The model aleph2 changes videos: give it one to edit or remix.", param="model")
    if request.last_frame and not request.images:
        raise UnsupportedOperation("A picture for the end needs one for the beginning.", param="last_frame")
    if request.model == "gen4_turbo" and not request.images:
        raise InvalidRequest("The model gen4_turbo needs an input picture.", param="input_reference")
    if request.model == "gen4.5" and not request.images and request.size not in GEN4[:2]:
        raise InvalidRequest(f"Without an input picture the size is {' or '.join(GEN4[:2])}.", param="size")


def check_words(request: VideoRequest, model: str) -> None:
    """Raise for a prompt or a seed that `model` does not take."""
    if model in TERSE and len(request.prompt.encode("utf-16-le", "surrogatepass")) > 2 * LONGEST_PROMPT:
        raise InvalidRequest(f"The prompt is longer than {LONGEST_PROMPT} characters.", param="prompt")
    if request.seed is not None and not 0 <= request.seed <= LARGEST_SEED:
        raise InvalidRequest(f"'seed' must be between 0 and {LARGEST_SEED}.", param="seed")


def wishes(request: VideoRequest, model: str) -> dict[str, Any]:
    """Seed, sound and negative prompt where `model` has them; an unlisted one is trusted to have all."""
    known = MODELS.get(model)
    asked = {
        "seed": request.seed if known is None or model in SEEDED else None,
        "audio": request.audio if known is None or known.audio else None,
        "negativePrompt": request.negative_prompt if known is None or model.startswith("veo") else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def shape(request: VideoRequest) -> dict[str, str]:
    """The size, in the words of the model. What follows the picture takes at most a resolution."""
    if request.model == "hailuo3":
        return {"ratio": request.ratio, "resolution": "768p" if min(request.dimensions) <= 768 else "2k"}
    if request.model == "grok_imagine_1_5":
        return {"resolution": request.resolution} | ({} if request.image else {"ratio": request.ratio})
    if request.image and request.model == "kling2.5_turbo_pro":
        return {}
    if request.image and request.model == "kling_4":
        return {"ratio": "auto_720p" if request.width * request.height < 1_500_000 else "auto_1080p"}
    return {"ratio": f"{request.width}:{request.height}"}
