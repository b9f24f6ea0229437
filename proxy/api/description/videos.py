"""The operations of videos and models, under `/v1`."""

from __future__ import annotations

from typing import Final

from proxy.api.asks import ID_FORM as ANY_ID
from proxy.api.description.words import (
    JSON,
    TEXT,
    WHOLE,
    YES_NO,
    Json,
    Needs,
    about,
    after,
    answer,
    body,
    header,
    limit,
    operation,
    path,
    query,
    ref,
    several,
    shape,
    text,
    wish,
    word,
)
from proxy.api.queries import DEFAULT_LIMIT, MAX_LIMIT
from proxy.api.values import MAX_MODEL, MAX_PROMPT, MAX_SECONDS
from proxy.models import VARIANTS

MULTIPART: Final = "multipart/form-data"
URLENCODED: Final = "application/x-www-form-urlencoded"
BYTES: Final[Json] = {"type": "string", "format": "binary"}
_SECONDS: Final[Json] = {
    "anyOf": [
        {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"},
        {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS},
    ]
}
_SIZE: Final[Json] = {"type": "string", "pattern": "^[1-9][0-9]{1,3}(x|:)[1-9][0-9]{1,3}$|^(16:9|9:16|1:1|4:3|3:4)$"}
_METADATA: Final = about({"type": "object"}, "Echoed as sent, and passed on to the provider but for `channel`.")
_PICTURE: Final[Json] = {
    "description": "A picture: an address, a data URI, or a file that was uploaded before.",
    "anyOf": [
        text(1, None, pattern="^(https?://|data:image/)"),
        shape({"image_url": text(1, None, pattern="^(https?://|data:image/)")}, additionalProperties=False),
        shape({"file_id": text(1, 64, pattern=f"^{ANY_ID.pattern}$")}, additionalProperties=False),
    ],
}
_SOURCE: Final[Json] = {
    "description": "The video to start from: one of yours by its id, or a file that was uploaded before.",
    "anyOf": [
        shape({"id": text(1, 64, pattern=f"^{ANY_ID.pattern}$")}, additionalProperties=False),
        shape({"file_id": text(1, 64, pattern=f"^{ANY_ID.pattern}$")}, additionalProperties=False),
    ],
}
_ASK: Final = {
    "prompt": text(1, MAX_PROMPT),
    "model": text(1, MAX_MODEL),
    "seconds": _SECONDS,
    "size": _SIZE,
    "audio": YES_NO,
    "seed": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "negative_prompt": {"type": "string", "maxLength": MAX_PROMPT},
    "metadata": _METADATA,
}
_CHARACTERS: Final = several(shape({"id": text(1, 64, pattern=f"^{ANY_ID.pattern}$")}), maxItems=2)
_NEW: Final = {
    **_ASK,
    "input_reference": _PICTURE,
    "images": several(_PICTURE),
    "last_frame": _PICTURE,
    "characters": _CHARACTERS,
}
_FORM: Final = {"prompt": text(1, MAX_PROMPT), "model": TEXT, "seconds": TEXT, "size": TEXT}
_NAME: Final = text(1, 255, pattern="^[ -~]+$")
_ORDER_HEADERS: Final = (header("Idempotency-Key", _NAME, "A name of yours: the same one orders nothing twice."),)
_POLL: Final = {
    "openai-poll-after-ms": {"schema": TEXT, "description": "Milliseconds after which another look is worth it."}
}
_ORDERED: Final = {
    **_POLL,
    "x-reelgate-adjusted": {
        "schema": TEXT,
        "description": "What was asked, where the channel makes something near it.",
    },
}
_ORDER_ERRORS: Final = (404, 502, 504)
_VIDEO_ID: Final = path("id", "The id of a video.")
DIRECTION: Final = query("order", word("asc", "desc"), "By their age; `desc` where it is left out.")
SIGNED: Final[Needs] = {"link": [], "link_expiry": []}
_DOWNLOAD: Final = query("download", TEXT, "`1`: for a browser to save, not to show.")
_SESSION_TOO: Final[tuple[Needs, ...]] = ({"key": []}, {"session": []}, SIGNED)


def operations() -> Json:
    """Path -> method -> operation, without `/v1`."""
    return {**_videos(), **_models(), **_generations()}


def _order(name: str, summary: str, fields: Json, form: Json, required: list[str], **more: Json) -> Json:
    written = {"type": "object", "required": required}
    texts = {field: schema for field, schema in form.items() if schema != BYTES}
    return operation(
        name,
        summary,
        answer("The video, `queued` or further.", ref("Video"), headers=_ORDERED),
        tag="Videos",
        parameters=(*more.get("parameters", ()), *_ORDER_HEADERS),
        body=body(
            {
                JSON: wish(fields, required=required, closed=False),
                MULTIPART: {**written, "properties": form},
                # A clip cannot be sent so.
                **({} if "video" in required else {URLENCODED: {**written, "properties": texts}}),
            }
        ),
        errors=_ORDER_ERRORS,
    )


def _videos() -> Json:
    pictures = {"input_reference": BYTES, "last_frame": BYTES}
    content = {kind: {"schema": BYTES} for kind in ("video/mp4", "image/webp", "image/jpeg", "image/png")}
    sent = {
        "Accept-Ranges": {"schema": TEXT},
        "ETag": {"schema": TEXT},
        "Content-Disposition": {"schema": TEXT},
    }
    bytes_of = {
        "200": {**answer("The bytes.", headers=sent), "content": content},
        "206": {**answer("The range of them.", headers=sent), "content": content},
        "302": answer("Where they are, with `content: redirect`."),
        "304": answer("The client has them already."),
    }
    return {
        "/videos": {
            "post": _order("createVideo", "Make a video", _NEW, {**_FORM, **pictures}, ["prompt"]),
            "get": operation(
                "listVideos",
                "Your videos",
                answer("A page of them.", ref("Videos")),
                tag="Videos",
                parameters=(
                    after("the video"),
                    limit(MAX_LIMIT, DEFAULT_LIMIT, 0),
                    DIRECTION,
                    query("idempotency_key", _NAME, "Only the video that was ordered with this Idempotency-Key."),
                ),
            ),
        },
        "/videos/{id}": {
            "parameters": [_VIDEO_ID],
            "get": operation(
                "retrieveVideo",
                "How a video is",
                answer("The video.", ref("Video"), headers=_POLL),
                tag="Videos",
                errors=[404],
            ),
            "delete": operation(
                "deleteVideo",
                "Delete a video, and cancel it where it is not finished",
                answer("It is deleted.", ref("DeletedVideo")),
                tag="Videos",
                parameters=[
                    query("force", word("true", "false", "1", "0"), "Forget also one that cannot be cancelled.")
                ],
                errors=[404, 502, 504],
            ),
        },
        "/videos/{id}/remix": {
            "parameters": [_VIDEO_ID],
            "post": _order("remixVideo", "A variation, made where the video was made", _ASK, _FORM, ["prompt"]),
        },
        "/videos/{id}/content": {
            "parameters": [_VIDEO_ID],
            "get": operation(
                "videoContent",
                "The bytes of a finished video",
                bytes_of,
                tag="Videos",
                parameters=[
                    query("variant", word(*VARIANTS), "Which file of it."),
                    _DOWNLOAD,
                    header("Range", TEXT, "Which bytes."),
                ],
                errors=[404, 416, 502, 504],
                security=_SESSION_TOO,
            ),
        },
        "/videos/{id}/events": {
            "parameters": [_VIDEO_ID],
            "get": operation(
                "videoEvents",
                "The states of a video as they come, until it is finished",
                {
                    "200": answer(
                        "Events `video.queued`, `video.in_progress`, `video.completed`, `video.failed`, each with the "
                        "video, or `video.deleted`.",
                        {"description": "Server-sent events."},
                        kind="text/event-stream",
                    ),
                    "204": answer("The client has had the last one."),
                },
                tag="Videos",
                parameters=[
                    header("Last-Event-ID", TEXT, "The event to go on behind."),
                    query("last_event_id", TEXT, "The same, where a header cannot be set."),
                ],
                errors=[404],
            ),
        },
        "/videos/edits": {
            "post": _order(
                "editVideo",
                "Edit one of your videos or an uploaded one",
                {**_ASK, "video": _SOURCE},
                {**_FORM, "video": BYTES},
                ["prompt", "video"],
            )
        },
        "/videos/extensions": {
            "post": _order(
                "extendVideo",
                "Make a video longer",
                {**_ASK, "video": _SOURCE},
                {**_FORM, "video": BYTES},
                ["prompt", "video", "seconds"],
            )
        },
        "/videos/characters": {
            "post": operation(
                "createCharacter",
                "A reusable character from a clip",
                answer("The character.", ref("Character")),
                tag="Videos",
                body=body({MULTIPART: shape({"name": text(1, 80), "video": BYTES})}),
                errors=_ORDER_ERRORS,
            )
        },
        "/videos/characters/{id}": {
            "parameters": [path("id", "The id of a character.")],
            "get": operation(
                "retrieveCharacter", "A character", answer("It.", ref("Character")), tag="Videos", errors=[404]
            ),
        },
    }


def _models() -> Json:
    return {
        "/videos/models": {
            "get": operation(
                "listVideoModels", "What each model can do", answer("All of them.", ref("VideoModels")), tag="Models"
            )
        },
        "/models": {"get": operation("listModels", "The models", answer("All of them.", ref("Models")), tag="Models")},
        "/models/{id}": {
            "parameters": [path("id", "The name of a model; it may have slashes in it.")],
            "get": operation("retrieveModel", "A model", answer("It.", ref("Model")), tag="Models", errors=[404]),
        },
    }


def _generations() -> Json:
    more = {"duration": _SECONDS, "width": WHOLE, "height": WHOLE}
    return {
        "/video/generations": {
            "post": _order(
                "createGeneration",
                "Make a video, for clients of new-api and its kin",
                {**_NEW, **more},
                _FORM,
                ["prompt"],
            )
        },
        "/video/generations/{id}": {
            "parameters": [_VIDEO_ID],
            "get": operation(
                "retrieveGeneration",
                "How a video is, in their envelope",
                answer("The task.", ref("Generation"), headers=_POLL),
                tag="Videos",
                errors=[404],
            ),
        },
    }
