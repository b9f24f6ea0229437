"""fal's video endpoints: what each can do, and how it is asked.

https://fal.ai/models; the fields are those of the endpoint types in fal-ai/fal-js (2026-08-02).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from proxy import Model

from ._fal_fields import Fields, merged

TABLE: Final[dict[str, Fields]] = {}
MODELS: Final[dict[str, Model]] = {}
PICTURED: Final[set[str]] = set()
"""The endpoints that make nothing without a picture."""
ENDED: Final[set[str]] = set()
"""Those that need one for the end, too."""


def able(model: Model, fields: Fields, extension: Fields | None) -> Model:
    """`model` with what `fields` say of its inputs and of what it does with videos."""
    edits = ("remix", "edit") if fields.edit_endpoint else ()
    extends = ("extend",) if fields.extend_endpoint else ()
    several = bool(fields.images or fields.images_endpoint)
    return replace(
        model,
        seconds=fields.seconds or model.seconds,
        extend_seconds=(extension and extension.seconds) or model.extend_seconds,
        image=several or bool(fields.image or fields.image_endpoint),
        max_images=model.max_images if several else 1,
        last_frame=bool(fields.last_frame or fields.last_frame_endpoint),
        native=edits + extends,
    )


def family(stem: str, model: Model, usual: Fields, **roles: tuple[str, Fields]) -> None:
    """List the endpoints of one model: each role has the end of the endpoint's name and how it differs from `usual`."""
    names = {role: stem + end for role, (end, _) in roles.items()}
    endpoints = {role: merged(usual, differs) for role, (_, differs) in roles.items()}
    after = Fields(extend_endpoint=names.get("extend"), edit_endpoint=names.get("edit"))
    siblings = Fields(
        image_endpoint=names.get("image"),
        last_frame_endpoint=names.get("last_frame") or (names.get("image") if endpoints["image"].last_frame else None),
        images_endpoint=names.get("images"),
    )
    for role, name in names.items():
        if role in ("extend", "edit"):
            TABLE[name] = endpoints[role]
            continue
        TABLE[name] = merged(endpoints[role], after, siblings if role == "text" else None)
        MODELS[name] = able(model, TABLE[name], endpoints.get("extend"))
        if role != "text":
            PICTURED.add(name)
        if role == "last_frame":
            ENDED.add(name)


def sizes(ratios: str, *shorts: int) -> tuple[str, ...]:
    """Every ratio at every length of the short side, even ones."""
    found = []
    for short in shorts:
        for across, down in (map(int, ratio.split(":")) for ratio in ratios.split()):
            scale = short / min(across, down) / 2
            found.append(f"{2 * round(across * scale)}x{2 * round(down * scale)}")
    return tuple(found)


# ---------------------------------------------------------------- the table

WIDE: Final = "16:9 9:16"
THREE: Final = "16:9 9:16 1:1"
FIVE: Final = "16:9 9:16 1:1 4:3 3:4"
SIX: Final = "16:9 9:16 1:1 4:3 3:4 21:9"

SHAPED: Final = Fields(aspect_ratio=True, resolution=True)
NUMBER: Final = merged(SHAPED, Fields(duration="duration", duration_form="number"))
TEXT: Final = merged(SHAPED, Fields(duration="duration", duration_form="text"))
SUFFIX: Final = merged(SHAPED, Fields(duration="duration", duration_form="suffix"))
SOUND: Final = Fields(audio="generate_audio")
SEED: Final = Fields(seed=True)
NEGATIVE: Final = Fields(seed=True, negative_prompt=True)

IMAGE: Final = Fields(image="image_url")
ENDS: Final = Fields(image="image_url", last_frame="end_image_url")
UNSHAPED: Final = Fields(aspect_ratio=False)
# A video brings its own shape, and an edited one its length and sound too.
EXTEND: Final = Fields(video="video_url", aspect_ratio=False, resolution=False)
EDIT: Final = merged(EXTEND, Fields(duration="", audio=""))
IMAGES: Final = Fields(images="image_urls")
REFERENCES: Final = Fields(images="reference_image_urls")


def upto(last: int, first: int = 1) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


def model(sizes: tuple[str, ...], seconds: tuple[int, ...], default: int = 5, **facts: Any) -> Model:
    return Model(sizes=sizes, seconds=seconds, default_seconds=default, **facts)


for tier, shorts in (("", (720, 1080, 2160)), ("/fast", (720, 1080, 2160)), ("/lite", (720, 1080))):
    further: dict[str, tuple[str, Fields]] = {}
    if not tier:
        refs = merged(IMAGES, Fields(seconds=(8,), seed=False, negative_prompt=False))
        further["images"] = ("/reference-to-video", refs)
    if tier != "/lite":
        further["extend"] = ("/extend-video", merged(EXTEND, Fields(seconds=(7,))))
    family(
        f"fal-ai/veo3.1{tier}",
        model(sizes(WIDE, *shorts), (4, 6, 8), 8, max_images=3, audio=True),
        merged(SUFFIX, SOUND, NEGATIVE),
        text=("", Fields()),
        image=("/image-to-video", IMAGE),
        last_frame=("/first-last-frame-to-video", Fields(image="first_frame_url", last_frame="last_frame_url")),
        **further,
    )

KLING: Final = Fields(image="start_image_url", last_frame="end_image_url", aspect_ratio=False)
UNSIZED: Final = merged(TEXT, Fields(resolution=False))
family(
    "fal-ai/kling-video/v2.6/pro",
    model(tuple(THREE.split()), (5, 10), audio=True),
    merged(UNSIZED, SOUND, Fields(negative_prompt=True)),
    text=("/text-to-video", Fields()),
    image=("/image-to-video", KLING),
)
for tier in ("standard", "pro", "4k"):
    shapes = sizes(THREE, 2160) if tier == "4k" else tuple(THREE.split())
    edit = {} if tier == "4k" else {"edit": ("/video-to-video/edit", EDIT)}
    family(
        f"fal-ai/kling-video/v3/{tier}",
        model(shapes, upto(15, 3), audio=True),
        merged(UNSIZED, SOUND, Fields(negative_prompt=True)),
        text=("/text-to-video", Fields()),
        image=("/image-to-video", KLING),
    )
    family(
        f"fal-ai/kling-video/o3/{tier}",
        model(shapes, upto(15, 3), max_images=4, audio=True),
        merged(UNSIZED, SOUND),
        text=("/text-to-video", Fields()),
        image=("/image-to-video", merged(ENDS, UNSHAPED)),
        images=("/reference-to-video", IMAGES),
        **edit,
    )
for tier in ("standard", "pro"):
    family(
        f"fal-ai/kling-video/v3/turbo/{tier}",
        model(tuple(THREE.split()), upto(15, 3)),
        UNSIZED,
        text=("/text-to-video", Fields()),
        image=("/image-to-video", merged(IMAGE, UNSHAPED)),
    )

PER_SECOND: Final = {"480p": 0.1346, "720p": 0.3034, "1080p": 0.682, "4k": 1.5552}
for tier, sides in (("", (720, 480, 1080, 2160)), ("/fast", (720, 480)), ("/mini", (720, 480))):
    cost: dict[str, Any] = {} if tier else {"price": PER_SECOND["720p"], "prices": PER_SECOND}
    family(
        f"bytedance/seedance-2.0{tier}",
        model(sizes(SIX, *sides), upto(15, 4), max_images=9, audio=True, **cost),
        merged(TEXT, SOUND),
        text=("/text-to-video", Fields()),
        image=("/image-to-video", ENDS),
        images=("/reference-to-video", IMAGES),
    )

family(
    "xai/grok-imagine-video",
    model(sizes(FIVE, 720, 480), upto(15), 6, max_images=7, audio=True),
    NUMBER,
    text=("/text-to-video", Fields()),
    image=("/image-to-video", IMAGE),
    images=("/reference-to-video", REFERENCES),
    extend=("/extend-video", merged(EXTEND, Fields(seconds=upto(10)))),
    edit=("/edit-video", EDIT),
)
family(
    "xai/grok-imagine-video/v1.5",
    model(sizes(FIVE, 720, 480, 1080), upto(15), 6, audio=True),
    NUMBER,
    image=("/image-to-video", merged(IMAGE, UNSHAPED)),
)
family(
    "google/gemini-omni-flash",
    model(tuple(WIDE.split()), upto(10, 3), 8, audio=True),
    merged(NUMBER, Fields(resolution=False)),
    text=("", Fields()),
    image=("/image-to-video", IMAGE),
    edit=("/edit", EDIT),
)

for tier, most in (("", 10), ("/fast", 20)):
    family(
        "fal-ai/ltx-2.3",
        model(sizes(WIDE, 1080, 1440, 2160), tuple(range(6, most + 1, 2)), 6, audio=True),
        merged(NUMBER, SOUND, Fields(resolution={"4k": "2160p"})),
        text=(f"/text-to-video{tier}", Fields()),
        image=(f"/image-to-video{tier}", ENDS),
        extend=("/extend-video", merged(EXTEND, Fields(seconds=upto(20, 2), audio=""))),
    )

H3: Final = {"480p": "480P", "768p": "768P", "1440p": "2K", "4k": "4K"}
family(
    "minimax/h3",
    model(
        sizes(SIX, 1440, 768, 480, 2160),
        upto(15, 4),
        max_images=9,
        audio=True,
        price=0.13,
        prices={"480p": 0.05, "768p": 0.06, "1440p": 0.13, "4k": 0.16},
    ),
    merged(NUMBER, Fields(resolution=H3)),
    text=("/text-to-video", Fields()),
    image=("/image-to-video", merged(ENDS, UNSHAPED)),
    images=("/reference-to-video", REFERENCES),
)

for speed in ("", "-fast"):
    for tier in ("standard", "pro"):
        words: dict[str, tuple[str, Fields]] = {} if speed else {"text": ("/text-to-video", Fields())}
        family(
            f"fal-ai/minimax/hailuo-2.3{speed}/{tier}",
            model((), (6,) if tier == "pro" else (6, 10), 6, default_size="1280x720", audio=False),
            Fields() if tier == "pro" else Fields(duration="duration", duration_form="text"),
            **words,
            image=("/image-to-video", IMAGE),
        )

# An edit is billed by the resolution, which would be 1080p.
SIZED_EDIT: Final = merged(EDIT, Fields(resolution=True, negative_prompt=False))
family(
    "fal-ai/wan/v2.7",
    model(sizes(FIVE, 1080, 720), upto(15, 2)),
    merged(NUMBER, NEGATIVE),
    text=("/text-to-video", Fields()),
    image=("/image-to-video", merged(ENDS, UNSHAPED)),
    images=("/reference-to-video", merged(REFERENCES, Fields(seconds=upto(10, 2)))),
    edit=("/edit-video", SIZED_EDIT),
)
family(
    "wan/v2.6",
    model(sizes(FIVE, 1080, 720), (5, 10, 15)),
    merged(TEXT, NEGATIVE),
    text=("/text-to-video", Fields()),
    image=("/image-to-video", merged(IMAGE, UNSHAPED)),
)
for version, ratios in (("", FIVE), ("/v1.1", SIX)):
    edit = {} if version else {"edit": ("/video-edit", SIZED_EDIT)}
    family(
        f"alibaba/happy-horse{version}",
        model(sizes(ratios, 1080, 720), upto(15, 3), max_images=9),
        merged(NUMBER, SEED),
        text=("/text-to-video", Fields()),
        image=("/image-to-video", merged(IMAGE, UNSHAPED)),
        images=("/reference-to-video", IMAGES),
        **edit,
    )
family(
    "fal-ai/pixverse/v6",
    model(sizes(SIX, 720, 360, 540, 1080), upto(15), audio=True),
    merged(NUMBER, NEGATIVE, Fields(audio="generate_audio_switch")),
    text=("/text-to-video", Fields()),
    image=("/image-to-video", merged(IMAGE, UNSHAPED)),
    last_frame=("/transition", Fields(image="first_image_url", last_frame="end_image_url")),
    extend=("/extend", merged(EXTEND, Fields(resolution=True))),
)
for tier in ("", "/turbo"):
    mix = {} if tier else {"images": ("/reference-to-video/mix", REFERENCES)}
    family(
        "fal-ai/vidu/q3",
        model(sizes(FIVE, 720, 360, 540, 1080), upto(16), max_images=4, audio=True),
        merged(NUMBER, SEED, Fields(audio="audio")),
        text=(f"/text-to-video{tier}", Fields()),
        image=(f"/image-to-video{tier}", merged(ENDS, UNSHAPED)),
        **mix,
    )
for speed in ("", "-flash"):
    family(
        f"fal-ai/luma-dream-machine/ray-2{speed}",
        model(sizes("16:9 9:16 4:3 3:4 21:9", 540, 720, 1080), (5, 9), audio=False),
        SUFFIX,
        text=("", Fields()),
        image=("/image-to-video", ENDS),
        edit=("/modify", EDIT),
    )
family(
    "fal-ai/pika/v2.2",
    model(sizes(THREE, 720, 1080), (5, 10), audio=False),
    merged(NUMBER, NEGATIVE),
    text=("/text-to-video", Fields()),
    image=("/image-to-video", merged(IMAGE, UNSHAPED)),
    images=("/pikascenes", IMAGES),
)
