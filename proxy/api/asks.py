"""Fields of a body -> `Ask`: every form check that needs no channel, with the field to blame."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

from proxy.api import pictures, values
from proxy.api.parts import FilePart
from proxy.api.refusals import video_not_found
from proxy.api.values import MAX_OBJECT, MAX_PROMPT, invalid_type
from proxy.errors import InvalidRequest, MissingParameter
from proxy.models import Kind
from proxy.records import Ask, Upload

ID_FORM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What an id can look like at all; anything else is an unknown one."""
MAX_CHARACTERS: Final = 2
NAME_LENGTH: Final = 80

PICTURE_FILES: Final = frozenset((*pictures.FIELDS, pictures.LAST_FRAME))
VIDEO_FILES: Final = frozenset({"video"})

IGNORED: Final = ("task_id", "video_id")
"""Fields of the seed's page that say nothing: the id is ours to give, the source is in the path."""


def create(fields: dict[str, Any]) -> Ask:
    """The ask of `POST /videos`."""
    return _ask("create", fields)


def generation(fields: dict[str, Any]) -> Ask:
    """The ask of `POST /video/generations`, whose clients say `duration`, and may give width and height apart."""
    duration = values.seconds(fields, "duration")
    if duration is not None:
        given = values.seconds(fields)
        if given not in (None, duration):
            raise InvalidRequest("'seconds' and 'duration' contradict each other.", param="duration")
        fields["seconds"] = duration
    width, height = values.integer(fields, "width"), values.integer(fields, "height")
    if width is not None or height is not None:
        if width is None or height is None:
            missing = "width" if width is None else "height"
            raise MissingParameter(f"Missing required parameter: '{missing}'.", param=missing)
        if fields.get("size") not in (None, f"{width}x{height}"):
            raise InvalidRequest("'size' contradicts 'width' and 'height'.", param="size")
        fields["size"] = f"{width}x{height}"
    return _ask("create", fields)


def remix(fields: dict[str, Any], source_id: str) -> Ask:
    """The ask of `POST /videos/{id}/remix`."""
    return _ask("remix", fields, source_id=source_id)


def edit(fields: dict[str, Any]) -> Ask:
    """The ask of `POST /videos/edits`."""
    source_id, video, mark = _source(fields)
    return _ask("edit", fields, source_id=source_id, video=video, video_mark=mark)


def extension(fields: dict[str, Any]) -> Ask:
    """The ask of `POST /videos/extensions`."""
    source_id, video, mark = _source(fields)
    ask = _ask("extend", fields, source_id=source_id, video=video, video_mark=mark)
    if ask.seconds is None:
        raise MissingParameter("Missing required parameter: 'seconds'.", param="seconds")
    return ask


def character(fields: dict[str, Any]) -> tuple[str, Upload]:
    """The name and the clip of `POST /videos/characters`."""
    name = values.required_text(fields, "name", NAME_LENGTH)
    _, video, _ = _source(fields)
    if video is None:
        raise InvalidRequest("Invalid type for 'video': expected a file, but got an id instead.", param="video")
    return name, video


def _ask(
    kind: Kind,
    fields: dict[str, Any],
    *,
    source_id: str | None = None,
    video: Upload | None = None,
    video_mark: str | None = None,
) -> Ask:
    for name in IGNORED:
        fields.pop(name, None)
    prompt = values.required_text(fields, "prompt", MAX_PROMPT)
    model = values.model(fields)
    seconds = values.seconds(fields)
    size = values.size(fields)
    if kind != "create":
        for name in (*pictures.FIELDS, pictures.LAST_FRAME, "characters"):
            if fields.get(name) is not None:
                raise InvalidRequest(f"'{name}' is only accepted where a new video is created.", param=name)
    images = pictures.pictures(fields)
    last_frame = pictures.last_frame(fields)
    characters = _characters(fields)
    audio = _audio(fields)
    seed = values.integer(fields, "seed")
    negative_prompt = _optional_text(fields, "negative_prompt")
    metadata = _metadata(fields)
    extra = _extra(fields)
    said = {
        "kind": kind,
        "source_id": source_id,
        "prompt": prompt,
        "model": model,
        "seconds": seconds,
        "size": size,
        "images": [picture.mark for picture in images],
        "video": video_mark,
        "characters": characters,
        "audio": audio,
        "seed": seed,
        "negative_prompt": negative_prompt,
        "metadata": metadata,
        "extra": extra,
    }
    if last_frame is not None:
        # Not null otherwise: fingerprints that are stored must go on to match requests that are sent again.
        said["last_frame"] = last_frame.mark
    return Ask(
        kind=kind,
        prompt=prompt,
        fingerprint=hashlib.sha256(msgspec.json.encode(said, order="sorted")).digest(),
        model=model,
        seconds=seconds,
        size=size,
        images=tuple(picture.upload for picture in images),
        last_frame=None if last_frame is None else last_frame.upload,
        video=video,
        source_id=source_id,
        characters=characters,
        audio=audio,
        seed=seed,
        negative_prompt=negative_prompt,
        metadata=metadata,
        extra=extra,
    )


def _source(fields: dict[str, Any]) -> tuple[str | None, Upload | None, str | None]:
    """The `video` that an edit or an extension starts from: an id, or an uploaded file and its mark.

    A file may have been uploaded before, by `POST /files`.
    """
    match fields.pop("video", None):
        case None:
            raise MissingParameter("Missing required parameter: 'video'.", param="video")
        case FilePart() as file:
            if not file.size:
                raise InvalidRequest("Invalid value for 'video': the file is empty.", param="video")
            return None, Upload(param="video", path=file.path, filename=file.filename), file.digest.hex()
        case {"id": str(video_id), **others} if not others:
            if ID_FORM.fullmatch(video_id) is None:
                raise video_not_found(video_id)
            return video_id, None, None
        case {"file_id": str(file_id), **others} if not others:
            if ID_FORM.fullmatch(file_id) is None:
                raise InvalidRequest(
                    f"Invalid value for 'video.file_id': '{values.shown(file_id)}' is no file id.", param="video"
                )
            return None, Upload(param="video", file_id=file_id), f"file {file_id}"
        case dict():
            raise InvalidRequest(
                "Invalid value for 'video': expected an object with just an 'id' or a 'file_id'.", param="video"
            )
        case value:
            raise invalid_type("video", "a file or an object", value)


def _characters(fields: dict[str, Any]) -> tuple[str, ...]:
    value = fields.pop("characters", None)
    if value is None:
        return ()
    given = pictures.numbered(value)
    if given is None:
        raise invalid_type("characters", "an array", value)
    if len(given) > MAX_CHARACTERS:
        raise InvalidRequest(f"Invalid 'characters': at most {MAX_CHARACTERS} are accepted.", param="characters")
    ids = []
    for item in given:
        match item:
            case {"id": str(character_id), **others} if not others and ID_FORM.fullmatch(character_id):
                ids.append(character_id)
            case _:
                raise InvalidRequest(
                    'Invalid value for \'characters\': expected objects of the form {"id": "…"}.', param="characters"
                )
    return tuple(ids)


def _audio(fields: dict[str, Any]) -> bool | None:
    audio, generate_audio = values.boolean(fields, "audio"), values.boolean(fields, "generate_audio")
    if audio is None:
        return generate_audio
    if generate_audio not in (None, audio):
        raise InvalidRequest("'audio' and 'generate_audio' contradict each other.", param="generate_audio")
    return audio


def _optional_text(fields: dict[str, Any], name: str) -> str | None:
    # An empty one is what a form sends whose field was left empty.
    if fields.get(name) == "":
        fields.pop(name)
    return values.text(fields, name, MAX_PROMPT)


def _metadata(fields: dict[str, Any]) -> dict[str, Any] | None:
    value = fields.pop("metadata", None)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid_type("metadata", "an object", value)
    for name, item in value.items():
        values.check_tree(f"metadata.{values.shown(name)}", item)
    _check_bulk("metadata", value)
    return value


def _extra(fields: dict[str, Any]) -> dict[str, Any]:
    extra = {name: value for name, value in fields.items() if value is not None}
    for name, value in extra.items():
        values.check_tree(values.shown(name), value)
        _check_bulk(values.shown(name), value)
    return extra


def _check_bulk(param: str, value: Any) -> None:
    if len(msgspec.json.encode(value)) > MAX_OBJECT:
        raise InvalidRequest(f"Invalid '{param}': at most {MAX_OBJECT} bytes of JSON are accepted.", param=param)
