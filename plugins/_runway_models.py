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
GROK_480: Final = words("848x480 480x848 480x480 640x480 480x640")
GROK_720: Final = words("1280x720 720x1280 720x720 960x720 720x960")
GROK: Final = (*GROK_720, *words("1920x1080 1080x1920 1080x1080 1440x1080 1080x1440"), *GROK_480)
GROK_LITE: Final = (
    *(*GROK_720, *GROK_480, *words("1088x720 720x1088 720x480 480x720")),
    *words("1904x1072 1072x1904 1424x1424 1648x1232 1232x1648 1744x1152 1152x1744"),
)
HAILUO: Final = (
    *words("1280x720 720x1280 720x720 960x720 720x960 1680x720"),
    *words("2560x1440 1440x2560 1440x1440 1920x1440 1440x1920 3360x1440"),
)
HORSE: Final = words("1280x720 720x1280 960x960 1108x832 832x1108 1920x1080 1080x1920 1440x1440 1662x1248 1248x1662")
WAN: Final = (
    *words("1280x720 720x1280 960x960 1104x832 832x1104 832x480 480x832 624x624 720x544 544x720"),
    *words("1920x1080 1080x1920 1440x1440 1648x1248 1248x1648"),
)


def model(sizes: tuple[str, ...], seconds: tuple[int, ...] = (), **facts: Any) -> Model:
    usual = {"max_images": 1, "audio": False, "last_frame": True, "extend_seconds": THREE_TO_TEN}
    return Model(sizes=sizes, seconds=seconds, **{**usual, **facts})


def follower(sizes: tuple[str, ...], seconds: tuple[int, ...] = (), **facts: Any) -> Model:
    """A model whose film has the shape of the picture: it gets one that has the shape of the order."""
    return model(sizes, seconds, exact_image=True, **facts)


def each(sizes: tuple[str, ...], price: float) -> dict[str, float]:
    return dict.fromkeys(sizes, price)


MODELS: Final[Mapping[str, Model]] = {
    "gen4.5": model(GEN4, tuple(range(2, 11)), last_frame=False, price=0.12),
    "gen4_turbo": model(GEN4, tuple(range(2, 11)), last_frame=False, price=0.05),
    "veo3.1": model(HD, (4, 6, 8), audio=True, price=0.40, prices={"silent": 0.20}),
    "veo3.1_fast": model(HD, (4, 6, 8), audio=True, price=0.15, prices={"silent": 0.10}),
    "kling2.5_turbo_pro": follower((*HD, "720x720", "1440x1440"), (5, 10)),
    **{f"kling3.0_{tier}": model(sizes, audio=True) for tier, sizes in KLING.items()},
    **{f"klingO3_{tier}": model(sizes, audio=True) for tier, sizes in KLING.items()},
    "kling_4": follower(KLING_4, audio=None),
    "seedance2": model(
        SEED_2 + SEED_1080 + SEED_4K, audio=True, price=0.36, prices=each(SEED_1080, 0.40) | each(SEED_4K, 1.50)
    ),
    "seedance2_fast": model(SEED_2, audio=True),
    "seedance2_mini": model(SEED_2, audio=True),
    "seedance2_5": model(
        SEED_720 + SEED_25 + SEED_1080, audio=True, price=0.30, prices=each(SEED_25, 0.20) | each(SEED_1080, 0.68)
    ),
    # It makes 768p, which stands for 720p here, and 2K.
    "hailuo3": model(HAILUO, audio=None, last_frame=False, price=0.15, prices={"720p": 0.10}),
    "gemini_omni_flash": model(HD[:2], THREE_TO_TEN, audio=None, last_frame=False, price=0.10),
    "gemini_omni_flash_1.1": model((*HD, *words("640x360 360x640 3840x2160 2160x3840")), THREE_TO_TEN, audio=None),
    "grok_imagine_1_5": follower(GROK, audio=None, last_frame=False),
    "grok_imagine_1_5_lite": follower(GROK_LITE, audio=None, last_frame=False),
    "happyhorse_1_0": follower(HORSE, audio=None, last_frame=False),
    "wan3": follower(WAN, audio=True),
    "wan3_prime": follower(WAN, audio=True),
    # It can be told how fine its film is, not of which shape.
    "h3_max": model((), audio=None),
    "aleph2": Model(image=False, audio=False, extend_seconds=THREE_TO_TEN, price=0.28),
}
UNLISTED: Final = Model(max_images=1, last_frame=True, extend_seconds=THREE_TO_TEN)
"""Any other model, such as those to come, passes unlimited."""

TERSE: Final = frozenset(("gen4.5", "gen4_turbo", "veo3.1", "veo3.1_fast"))
SEEDED: Final = TERSE | {"aleph2", "h3_max", "seedance2", "seedance2_fast", "seedance2_mini", "seedance2_5"}

AUTOMATIC: Final = frozenset(("kling_4", "wan3", "wan3_prime", "grok_imagine_1_5_lite"))
"""The models that want to be told of a film that follows its picture how fine it is, as a `ratio`."""

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
    short, area = min(request.dimensions), request.width * request.height
    fineness = "480p" if area < 500_000 else "720p" if area < 1_500_000 else "1080p"
    if request.model == "hailuo3":
        return {"ratio": request.ratio, "resolution": "768p" if short <= 768 else "2k"}
    if request.model == "h3_max":
        return {"resolution": "480p" if short <= 480 else "768p"}
    if request.model == "grok_imagine_1_5":
        return {"resolution": request.resolution} | ({} if request.image else {"ratio": request.ratio})
    if request.image and request.model == "kling2.5_turbo_pro":
        return {}
    if request.image and request.model == "happyhorse_1_0":
        return {"resolution": fineness}
    if request.image and request.model in AUTOMATIC:
        return {"ratio": f"auto_{fineness}"}
    return {"ratio": f"{request.width}:{request.height}"}
