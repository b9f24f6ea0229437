"""JSON bodies -> fields, in memory that the body's own length bounds.

A body of 64 MiB can hold thirty million empty lists, which would be gigabytes of Python objects. So only texts may be
large: whatever else is decoded was measured before.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxy.errors import InvalidRequest

MAX_PICTURE_TEXT: Final = 20_971_520
"""Characters of a picture's address or data, as the OpenAPI description of the Videos API has it for `image_url`."""
MAX_PICTURES: Final = 16
"""Pictures that one list may have; how many are taken is the operator's word (`server.inputs`)."""
SMALL: Final = 2**16
"""Bytes of JSON that may be anything at all: at most 65,536 objects."""
MAX_REST: Final = 2**18
"""Bytes of a body beside the fields that may be large."""
# Six bytes for an escaped letter, and two such escapes for one beyond the basic plane.
MAX_TEXT_JSON: Final = 32_000 * 12 + 2
# Some encoders escape every slash, which is one letter in 64 of base64.
MAX_PICTURE_JSON: Final = MAX_PICTURE_TEXT // 8 * 9

_NOTHING: Final = msgspec.Raw()


class _Large(msgspec.Struct):
    """The fields that may be large; the rest of the body is only checked for being JSON."""

    prompt: msgspec.Raw = _NOTHING
    negative_prompt: msgspec.Raw = _NOTHING
    input_reference: msgspec.Raw = _NOTHING
    image: msgspec.Raw = _NOTHING
    images: msgspec.Raw = _NOTHING
    last_frame: msgspec.Raw = _NOTHING


class _Address(msgspec.Struct, forbid_unknown_fields=True):
    url: str | None = None


class _Reference(msgspec.Struct, forbid_unknown_fields=True):
    image_url: _Address | str | None = None
    file_id: str | None = None
    url: str | None = None


_Picture = _Reference | str | None

# One more than are accepted; the rest of a longer list is skipped, never built.
_Pictures = msgspec.defstruct(
    "_Pictures", [(f"picture_{number}", _Picture, None) for number in range(MAX_PICTURES + 1)], array_like=True
)


_large = msgspec.json.Decoder(_Large)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything = msgspec.json.Decoder()
_picture = msgspec.json.Decoder(_Picture)
_pictures = msgspec.json.Decoder(_Pictures)

_BROKEN: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def fields(body: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The fields of a JSON object. Raises `InvalidRequest`."""
    try:
        large = _large.decode(body)
        rest = len(body) - sum(len(getattr(large, name)) for name in large.__struct_fields__)
        if rest > MAX_REST:
            raise InvalidRequest(
                f"The fields beside prompts and pictures take {rest} bytes of JSON; at most {MAX_REST} are accepted."
            )
        raws = _fields.decode(body)
    except msgspec.ValidationError:
        raise InvalidRequest("The request body must be a JSON object.") from None
    except _BROKEN as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request ({reason(error)}).") from None
    return {name: value(name, raw) for name, raw in raws.items()}


def value(name: str, raw: msgspec.Raw | bytes) -> Any:
    """The JSON value of one field. Raises `InvalidRequest` that names it."""
    if name in ("prompt", "negative_prompt"):
        if len(raw) > MAX_TEXT_JSON:
            raise InvalidRequest(f"Invalid '{name}': at most 32000 characters are accepted.", param=name)
    elif len(raw) > SMALL:
        return _large_value(name, raw)
    try:
        return _anything.decode(raw)
    except _BROKEN as error:
        raise InvalidRequest(f"Invalid value for '{name[:64]}': {reason(error)}.", param=name[:64]) from None


def _large_value(name: str, raw: msgspec.Raw | bytes) -> Any:
    try:
        if name == "images":
            pictures = _pictures.decode(raw)
            return [_plain(picture) for picture in msgspec.structs.astuple(pictures) if picture is not None]
        if name in ("input_reference", "image", "last_frame"):
            if len(raw) > MAX_PICTURE_JSON:
                raise InvalidRequest(
                    f"Invalid '{name}': it is too long; at most {MAX_PICTURE_TEXT} characters are accepted.", param=name
                )
            return _plain(_picture.decode(raw))
    except _BROKEN as error:
        raise InvalidRequest(f"Invalid value for '{name[:64]}': {reason(error)}.", param=name[:64]) from None
    raise InvalidRequest(
        f"Invalid '{name[:64]}': it takes {len(raw)} bytes of JSON; at most {SMALL} are accepted.", param=name[:64]
    )


def _plain(picture: _Picture) -> Any:
    return msgspec.to_builtins(picture)


def reason(error: Exception) -> str:
    """Why a text is not JSON, in words for a message."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error).split(" - at")[0]
