"""A stored video -> the request that asked for it: to be shown, and to be asked again."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from proxy.records import Ask, StoredInput, Upload, Video

Obstacle = Literal["pictures", "clip", "characters"]
"""What of a request was not kept, so that it cannot be asked again from here."""

_PATHS: Final = {"create": "/v1/videos", "edit": "/v1/videos/edits", "extend": "/v1/videos/extensions"}


def path_of(video: Video) -> str:
    """The route that it was asked for by."""
    return f"/v1/videos/{video.source_id}/remix" if video.kind == "remix" else _PATHS[video.kind]


def body_of(video: Video) -> dict[str, Any]:
    """The request's body, without what was not kept: pictures and videos that were sent along."""
    order = video.order
    body: dict[str, Any] = {"model": video.model, "prompt": video.prompt}
    if video.kind in ("edit", "extend") and video.source_id is not None:
        body["video"] = {"id": video.source_id}
    if video.kind in ("create", "extend"):
        body["seconds"] = str(video.billed_seconds)
    if video.kind == "create":
        body["size"] = video.size
    if video.kind == "create" and order.images and not order.reimagine and (url := order.images[0].url) is not None:
        body["input_reference"] = {"image_url": url}
    for name in ("audio", "seed", "negative_prompt"):
        if (value := getattr(order, name)) is not None:
            body[name] = value
    if (metadata := _metadata(video)) is not None:
        body["metadata"] = metadata
    return body | _extra(video)


def obstacle(video: Video) -> Obstacle | None:
    """Why it cannot be asked again; None where it can."""
    order = video.order
    if order.characters:
        return "characters"
    if order.video is not None:
        return "clip"
    pictures = [] if order.reimagine else [*order.images]
    if order.last_frame is not None:
        pictures.append(order.last_frame)
    return "pictures" if any(picture.url is None for picture in pictures) else None


def ask_of(video: Video) -> Ask:
    """The ask for another one like it, which has no `obstacle`."""
    order = video.order
    last_frame = None if order.last_frame is None else _upload(order.last_frame)
    return Ask(
        kind=video.kind,
        prompt=video.prompt,
        # Like no request of a client: those are compared by it.
        fingerprint=hashlib.sha256(f"again {video.id}".encode()).digest(),
        model=video.model,
        # What starts from another video takes its source's length and size.
        seconds=video.billed_seconds if video.kind in ("create", "extend") else None,
        size=video.size if video.kind == "create" else None,
        images=() if order.reimagine else tuple(_upload(picture) for picture in order.images),
        last_frame=last_frame,
        source_id=video.source_id,
        audio=order.audio,
        seed=order.seed,
        negative_prompt=order.negative_prompt,
        metadata=_metadata(video),
        extra=_extra(video),
    )


def _upload(picture: StoredInput) -> Upload:
    return Upload(param=picture.param, url=picture.url, filename=picture.filename)


def _metadata(video: Video) -> dict[str, Any] | None:
    found = None if video.metadata is None else msgspec.json.decode(video.metadata)
    return found if isinstance(found, dict) else None


def _extra(video: Video) -> dict[str, Any]:
    # The order has both in one, and the metadata as the client sent it stands beside it.
    sent = _metadata(video) or {}
    return {name: value for name, value in video.order.metadata.items() if name not in sent}
