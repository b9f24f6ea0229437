"""Models as Replicate shows them: each with the OpenAPI schema that its inputs are held against.

The fact sheet gives the place of the schema and the fact that names vary by model. Which fields a model has is from its
public page; a test that needs another one puts a `Card` into `ReplicateSimulator.models`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

Schema = Mapping[str, Any]
Problem = tuple[str, str, str]
"""Type, field and description, as in `invalid_fields`."""

TEXT: Final[Schema] = {"type": "string"}
URI: Final[Schema] = {"type": "string", "format": "uri"}
URIS: Final[Schema] = {"type": "array", "items": URI}
FLAG: Final[Schema] = {"type": "boolean"}
WHOLE: Final[Schema] = {"type": "integer"}

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def one_of(*legal: str | int) -> Schema:
    return {"type": "string" if isinstance(legal[0], str) else "integer", "enum": list(legal)}


def between(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One model. An official one has no version to be named; `several` says that its output is a list."""

    name: str
    inputs: Mapping[str, Schema]
    required: tuple[str, ...] = ("prompt",)
    official: bool = True
    several: bool = False

    @property
    def version(self) -> str:
        """The 64 digits of its only version."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def openapi(self) -> dict[str, Any]:
        """The schema of the version: an enumeration is a schema of its own that the field refers to."""
        properties: dict[str, Any] = {}
        schemas: dict[str, Any] = {}
        for order, (name, schema) in enumerate(self.inputs.items()):
            if "enum" in schema:
                schemas[name] = {"title": name, "description": "An enumeration.", **schema}
                properties[name] = {"allOf": [{"$ref": f"#/components/schemas/{name}"}], "x-order": order}
            else:
                properties[name] = {"title": name, "x-order": order, **schema}
        given = {"type": "object", "title": "Input", "required": list(self.required), "properties": properties}
        made = {"title": "Output", **(URIS if self.several else URI)}
        return {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "components": {"schemas": {"Input": given, "Output": made, **schemas}},
        }


CARDS: Final = (
    Card(
        name="google/veo-3.1",
        inputs={
            "prompt": TEXT,
            "aspect_ratio": one_of("16:9", "9:16"),
            "duration": one_of(4, 6, 8),
            "image": URI,
            "last_frame": URI,
            "reference_images": URIS,
            "negative_prompt": TEXT,
            "resolution": one_of("720p", "1080p"),
            "generate_audio": FLAG,
            "seed": WHOLE,
        },
    ),
    Card(
        name="kwaivgi/kling-v2.5-turbo-pro",
        inputs={
            "prompt": TEXT,
            "negative_prompt": TEXT,
            "start_image": URI,
            "end_image": URI,
            "aspect_ratio": one_of("16:9", "9:16", "1:1"),
            "duration": one_of(5, 10),
            "guidance_scale": {"type": "number", "minimum": 0, "maximum": 1},
        },
    ),
    Card(
        name="bytedance/seedance-1-pro",
        inputs={
            "prompt": TEXT,
            "image": URI,
            "last_frame_image": URI,
            "duration": between(2, 12),
            "resolution": one_of("480p", "720p", "1080p"),
            "aspect_ratio": one_of("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21"),
            "fps": one_of(24),
            "camera_fixed": FLAG,
            "seed": WHOLE,
        },
    ),
    Card(
        name="minimax/hailuo-02",
        inputs={
            "prompt": TEXT,
            "first_frame_image": URI,
            "last_frame_image": URI,
            "duration": one_of(6, 10),
            "resolution": one_of("512p", "768p", "1080p"),
            "prompt_optimizer": FLAG,
        },
    ),
    Card(
        name="wan-video/wan-2.5-t2v",
        inputs={
            "prompt": TEXT,
            "negative_prompt": TEXT,
            "audio": URI,
            "size": one_of("832*480", "480*832", "1280*720", "720*1280", "1920*1080", "1080*1920"),
            "duration": one_of(5, 10),
            "enable_prompt_expansion": FLAG,
            "seed": WHOLE,
        },
    ),
    Card(
        name="acme/flipbook",
        official=False,
        several=True,
        inputs={"prompt": TEXT, "image": URI, "num_frames": between(1, 240), "seed": WHOLE},
    ),
)
"""Five official models with different words for the same things, and one of a community, run by its version."""


def problems(card: Card, given: Mapping[str, Any], *, closed: bool) -> Iterator[Problem]:
    """What is wrong with the inputs of a prediction; unknown ones only where the model is `closed`."""
    for name in card.required:
        if name not in given:
            yield "required", "input", f"{name} is required"
    for name, value in given.items():
        if name in card.inputs:
            yield from wrong(f"input.{name}", name, value, card.inputs[name])
        elif closed:
            yield "additional_property_not_allowed", "input", f"Additional property {name} is not allowed"


def wrong(field: str, name: str, value: Any, schema: Schema) -> Iterator[Problem]:
    """What is wrong with one value."""
    kind, found = schema["type"], kind_of(value)
    if kind != found and (kind, found) != ("number", "integer"):
        yield "invalid_type", field, f"Invalid type. Expected: {kind}, given: {found}"
    elif "enum" in schema and value not in schema["enum"]:
        legal = ", ".join(f'"{word}"' if isinstance(word, str) else str(word) for word in schema["enum"])
        yield "enum", field, f"{name} must be one of the following: {legal}"
    elif "minimum" in schema and value < schema["minimum"]:
        yield "number_gte", field, f"Must be greater than or equal to {schema['minimum']}"
    elif "maximum" in schema and value > schema["maximum"]:
        yield "number_lte", field, f"Must be less than or equal to {schema['maximum']}"
    elif schema.get("format") == "uri" and not is_uri(value):
        yield "format", field, "Does not match format 'uri'"
    elif kind == "array":
        for number, item in enumerate(value):
            yield from wrong(f"{field}.{number}", str(number), item, schema["items"])


def kind_of(value: Any) -> str:
    """The JSON type of a value; true and false are no numbers."""
    if isinstance(value, bool):
        return "boolean"
    return next(kind for kind, types in _TYPES.items() if isinstance(value, types))


def is_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme == "data" or (parts.scheme in ("http", "https") and bool(parts.netloc))
