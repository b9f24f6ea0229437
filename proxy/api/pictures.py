"""A field that holds a picture -> an `Upload`. Whether it is a picture at all is seen later, by `media`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from proxy.api.documents import MAX_PICTURE_TEXT, MAX_PICTURES
from proxy.api.parts import FilePart
from proxy.api.values import invalid_type, shown
from proxy.errors import InvalidRequest
from proxy.records import Upload

MAX_URL: Final = 8192
FIELDS: Final = ("input_reference", "image", "images")
"""The fields that hold input pictures, in the order in which their pictures are used."""
LAST_FRAME: Final = "last_frame"
"""The field of the picture that a video ends with."""
ADDRESSES: Final = ("image_url", "url")
"""What an object calls an address or data: OpenAI's own word, and that of chat messages."""

_URL: Final = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.IGNORECASE)
_FILE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
IN_MEMORY: Final = 2**16
"""Characters up to which a picture stays in memory."""
_SLICE: Final = 2**20
"""Characters of base64 that are decoded at once (a multiple of 4): another thread gets its turn in between."""
_SHORTEST: Final = 32
"""Characters below which a text is rather a mistake than a whole picture in base64."""


class Picture(NamedTuple):
    """An upload, and what stands for it in a fingerprint: the same bytes are the same, however they came."""

    upload: Upload
    mark: str


def pictures(fields: dict[str, Any]) -> list[Picture]:
    """All input pictures but the last frame, each once. Takes their fields out of `fields`."""
    found: dict[str, Picture] = {}
    for name in FIELDS:
        for param, value in _each(name, fields.pop(name, None)):
            picture = _picture(param, value)
            found.setdefault(picture.mark, picture)
            if len(found) > MAX_PICTURES:
                raise InvalidRequest(f"Too many pictures: at most {MAX_PICTURES} are accepted.", param=name)
    return list(found.values())


def last_frame(fields: dict[str, Any]) -> Picture | None:
    """The picture that the video shall end with, if one is named. Takes its field out of `fields`."""
    value = fields.pop(LAST_FRAME, None)
    return None if value is None else _picture(LAST_FRAME, value)


def to_disk(fields: dict[str, Any], fresh: Callable[[], FilePart]) -> None:
    """Put the large pictures of `fields` that are texts into files that `fresh` makes, one after the other, so that no
    memory is taken while the video is ordered. Blocks."""
    for name in (*FIELDS, LAST_FRAME):
        if name in fields:
            fields[name] = _on_disk(name, fields[name], fresh)


def _on_disk(param: str, value: Any, fresh: Callable[[], FilePart]) -> Any:
    if isinstance(value, str) and len(value) > IN_MEMORY and (text := _payload(param, value)) is not None:
        part = fresh()
        for piece in _decoded(param, text):
            part.write(piece)
            part.size += len(piece)
        part.close()
        return part
    if isinstance(value, list):
        value[:] = (_on_disk(param, item, fresh) for item in value)
    elif isinstance(value, dict):
        for name in value:
            if name in ADDRESSES or name.isdecimal():
                value[name] = _on_disk(param, value[name], fresh)
    return value


def _each(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    values = numbered(value)
    if values is None:
        yield name, value
        return
    if len(values) > MAX_PICTURES:
        raise InvalidRequest(f"Too many pictures in '{name}': at most {MAX_PICTURES} are accepted.", param=name)
    for value in values:
        yield name, value


def numbered(value: Any) -> list[Any] | None:
    """A list, also one that a form spelt as `k[0]`, `k[1]` and so on; None where `value` is none."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and value and all(key.isascii() and key.isdecimal() for key in value):
        return list(value.values())
    return None


def _picture(param: str, value: Any) -> Picture:
    match value:
        case FilePart():
            return Picture(Upload(param=param, path=value.path, filename=value.filename), f"bytes {value.digest.hex()}")
        case str():
            return _from_text(param, value)
        case dict():
            name, text = _only(param, param, value, (*ADDRESSES, "file_id"))
            if name == "image_url" and isinstance(text, dict):
                # As in the messages of a chat: {"image_url": {"url": "…"}}.
                name, text = _only(param, f"{param}.image_url", text, ("url",))
            if isinstance(text, FilePart):
                return _picture(param, text)
            if not isinstance(text, str):
                raise invalid_type(f"{param}.{name}", "a string", text)
            return _from_file_id(param, text) if name == "file_id" else _from_text(param, text)
        case _:
            raise invalid_type(param, "a file, an object or a string", value)


def _only(param: str, where: str, value: dict[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    """The one item of the object at `where`, whose name is one of `names`."""
    given = {name: item for name, item in value.items() if item is not None}
    if unknown := given.keys() - {*names}:
        raise InvalidRequest(f"Unknown parameter: '{where}.{shown(min(unknown))}'.", param=param)
    if len(given) != 1:
        raise InvalidRequest(f"Invalid value for '{where}': give exactly one of {_listed(names)}.", param=param)
    [(name, item)] = given.items()
    return name, item


def _listed(names: tuple[str, ...]) -> str:
    *others, last = (f"'{name}'" for name in names)
    return f"{', '.join(others)} and {last}" if others else last


def _from_file_id(param: str, text: str) -> Picture:
    if _FILE_ID.fullmatch(text) is None:
        raise InvalidRequest(f"Invalid value for '{param}.file_id': '{shown(text)}' is no file id.", param=param)
    return Picture(Upload(param=param, file_id=text), f"file {text}")


def _from_text(param: str, text: str) -> Picture:
    packed = _payload(param, text)
    if packed is None:
        return Picture(Upload(param=param, url=text), f"url {text}")
    data = b"".join(_decoded(param, packed))
    return Picture(Upload(param=param, data=data), f"bytes {hashlib.sha256(data).hexdigest()}")


def _payload(param: str, text: str) -> str | None:
    """The base64 of a picture; None where the text is an address."""
    if len(text) > MAX_PICTURE_TEXT:
        raise InvalidRequest(
            f"Invalid '{param}': string too long. Expected a string with maximum length {MAX_PICTURE_TEXT}, "
            f"but got a string with length {len(text)} instead.",
            param=param,
        )
    scheme = text[:8].lower()
    if scheme.startswith(("http:", "https:")):
        if len(text) > MAX_URL or _URL.fullmatch(text) is None:
            raise InvalidRequest(f"Invalid value for '{param}': '{shown(text)}' is not a valid URL.", param=param)
        return None
    if scheme.startswith("data:"):
        head, comma, _ = text[:MAX_URL].partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidRequest(
                f"Invalid value for '{param}': a data URI must be of the form 'data:image/png;base64,…'.", param=param
            )
        return text[len(head) + 1 :]
    if len(text) < _SHORTEST:
        raise InvalidRequest(
            f"Invalid value for '{param}': '{shown(text)}' is neither a URL, nor a data URI, nor a picture in base64.",
            param=param,
        )
    return text


def _decoded(param: str, text: str) -> Iterator[bytes]:
    try:
        packed = text.encode("ascii").translate(None, b" \t\r\n").rstrip(b"=")
        if b"=" in packed or not packed:
            raise ValueError
        packed += b"=" * (-len(packed) % 4)
        for start in range(0, len(packed), _SLICE):
            yield base64.b64decode(packed[start : start + _SLICE], validate=True)
    except ValueError:
        raise InvalidRequest(
            f"Invalid value for '{param}': expected a URL, a data URI or a picture in base64, and it is none of them.",
            param=param,
        ) from None
