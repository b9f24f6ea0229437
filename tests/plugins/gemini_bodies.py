"""What google-genai sends to the Gemini Developer API for one order each, as test_gemini_simulator_sdk.py proves.

A test may hold another client's body to these without the SDK. `{previous}` stands for the id of an interaction,
`{uri}` for the address of a file, `{film}` for an MP4 in base64; see `filled`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

OMNI = "gemini-omni-1.2-flash"
VEO = "veo-3.1-generate-preview"
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAASCAIAAAC1qksFAAAAIUlEQVR4nGPUiFrAQEvARFPTRy0YtWDUglELRi0YtQAKADk2AUbrJMPwAAAA"
    "AElFTkSuQmCC"
)
"""A picture of 32x18 pixels."""
FORMAT = {"type": "video", "aspect_ratio": "16:9", "resolution": "720p", "duration": "8s"}
PICTURE = {"type": "image", "data": PNG, "mime_type": "image/png"}
VEO_PICTURE = {"bytesBase64Encoded": PNG, "mimeType": "image/png"}
SDK_PICTURE = {"imageBytes": PNG, "mimeType": "image/png"}


class Predict(NamedTuple):
    """An order of Veo's in the SDK's words, and the body that it becomes."""

    source: dict[str, Any]
    config: dict[str, Any]
    body: dict[str, Any]


def text(prompt: str) -> dict[str, str]:
    return {"type": "text", "text": prompt}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    """An input as the SDK sends a list of parts, which the API takes bare too."""
    return [{"type": "user_input", "content": [*parts]}]


def task(name: str) -> dict[str, Any]:
    return {"video_config": {"task": name}}


# The SDK's keyword arguments are the body, but for a list of parts as the input: that becomes one step.
INTERACTIONS: dict[str, dict[str, Any]] = {
    "synchronous": {"model": OMNI, "input": "a paper boat", "response_format": FORMAT},
    "background": {"model": OMNI, "input": "a paper boat", "response_format": FORMAT, "background": True},
    "uri": {
        "model": OMNI,
        "input": "a paper boat",
        "response_format": {**FORMAT, "delivery": "uri"},
        "background": True,
    },
    "formats": {"model": OMNI, "input": "a paper boat", "response_format": [FORMAT], "background": True},
    "seed": {
        "model": OMNI,
        "input": user(text("a paper boat")),
        "response_format": {**FORMAT, "aspect_ratio": "9:16", "resolution": "1080p"},
        "generation_config": {"seed": 7, **task("text_to_video")},
        "background": True,
    },
    "first_frame": {
        "model": OMNI,
        "input": user(text("<FIRST_FRAME> a paper boat"), PICTURE),
        "response_format": FORMAT,
        "generation_config": task("image_to_video"),
        "background": True,
    },
    "frames": {
        "model": OMNI,
        "input": user(text("<FIRST_FRAME> a paper boat <LAST_FRAME>"), PICTURE, PICTURE),
        "response_format": FORMAT,
        "generation_config": task("image_to_video"),
        "background": True,
    },
    "references": {
        "model": OMNI,
        "input": user(text("<IMAGE_REF_1> meets <IMAGE_REF_2>"), PICTURE, PICTURE),
        "response_format": FORMAT,
        "generation_config": task("reference_to_video"),
        "background": True,
    },
    "unstored": {
        "model": OMNI,
        "input": user(text("a paper boat")),
        "response_format": FORMAT,
        "background": True,
        "store": False,
    },
    "edit": {
        "model": OMNI,
        "input": "the same at night",
        "previous_interaction_id": "{previous}",
        "response_format": FORMAT,
        "generation_config": task("edit"),
        "background": True,
    },
    "extend": {
        "model": OMNI,
        "input": "it sails on",
        "previous_interaction_id": "{previous}",
        "response_format": FORMAT,
        "generation_config": task("extend"),
        "background": True,
    },
    "edit_upload": {
        "model": OMNI,
        "input": user(text("at night"), {"type": "video", "data": "{film}", "mime_type": "video/mp4"}),
        "response_format": {"type": "video"},
        "generation_config": task("edit"),
        "background": True,
    },
    "extend_file": {
        "model": OMNI,
        "input": user(text("it sails on"), {"type": "video", "uri": "{uri}", "mime_type": "video/mp4"}),
        "response_format": FORMAT,
        "generation_config": task("extend"),
        "background": True,
    },
}

PREDICT: dict[str, Predict] = {
    "text": Predict(
        {"prompt": "a cat"},
        {"numberOfVideos": 1, "durationSeconds": 8, "aspectRatio": "16:9", "resolution": "720p"},
        {
            "instances": [{"prompt": "a cat"}],
            "parameters": {"sampleCount": 1, "durationSeconds": 8, "aspectRatio": "16:9", "resolution": "720p"},
        },
    ),
    "tall": Predict(
        {"prompt": "a cat"},
        {
            "aspectRatio": "9:16",
            "resolution": "1080p",
            "negativePrompt": "blur",
            "personGeneration": "allow_all",
            "enhancePrompt": True,
        },
        {
            "instances": [{"prompt": "a cat"}],
            "parameters": {
                "aspectRatio": "9:16",
                "resolution": "1080p",
                "negativePrompt": "blur",
                "personGeneration": "allow_all",
                "enhancePrompt": True,
            },
        },
    ),
    "frames": Predict(
        {"prompt": "a cat", "image": SDK_PICTURE},
        {"durationSeconds": 6, "personGeneration": "allow_adult", "lastFrame": SDK_PICTURE},
        {
            "instances": [{"prompt": "a cat", "image": VEO_PICTURE, "lastFrame": VEO_PICTURE}],
            "parameters": {"durationSeconds": 6, "personGeneration": "allow_adult"},
        },
    ),
    "references": Predict(
        {"prompt": "a cat"},
        {"durationSeconds": 8, "referenceImages": [{"image": SDK_PICTURE, "referenceType": "asset"}]},
        {
            "instances": [
                {"prompt": "a cat", "referenceImages": [{"image": VEO_PICTURE, "referenceType": "ASSET"}]},
            ],
            "parameters": {"durationSeconds": 8},
        },
    ),
    "extension": Predict(
        {"prompt": "it runs", "video": {"uri": "{uri}"}},
        {"resolution": "720p"},
        {"instances": [{"prompt": "it runs", "video": {"uri": "{uri}"}}], "parameters": {"resolution": "720p"}},
    ),
    "extension_of_bytes": Predict(
        {"prompt": "it runs", "video": {"videoBytes": "{film}", "mimeType": "video/mp4"}},
        {"durationSeconds": 8},
        {
            "instances": [{"prompt": "it runs", "video": {"encodedVideo": "{film}", "encoding": "video/mp4"}}],
            "parameters": {"durationSeconds": 8},
        },
    ),
}


def filled(body: Any, **values: str) -> Any:
    """`body` with `values` in the places that stand for them."""
    made = json.dumps(body)
    for name, value in values.items():
        made = made.replace(f"{{{name}}}", value)
    return json.loads(made)
