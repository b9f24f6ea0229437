"""Path and query values -> what they mean, or a 400 that names them."""

from __future__ import annotations

import re
from typing import Final, Literal

from aiohttp import web

from proxy.api.asks import ID_FORM
from proxy.api.context import TRACE
from proxy.api.refusals import video_not_found
from proxy.api.values import shown
from proxy.errors import InvalidRequest
from proxy.ids import ID_PATTERN
from proxy.logs import log_context
from proxy.models import VARIANTS, Variant

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
RETRY_COUNT: Final = "x-stainless-retry-count"

_LIMIT: Final = re.compile(r"[0-9]{1,3}")
_SECONDS: Final = re.compile(r"[0-9]{1,11}")
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_RETRY_COUNT: Final = re.compile(r"[0-9]{1,6}")


def video_id(request: web.Request) -> str:
    """The id in the path. Raises `VideoNotFound` where it could not be an id."""
    found = request.match_info["id"]
    if ID_FORM.fullmatch(found) is None:
        raise video_not_found(found)
    request[TRACE].video_id = found
    log_context(video_id=found)
    return found


def limit(request: web.Request) -> int:
    """How many videos a list may have."""
    text = request.query.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if _LIMIT.fullmatch(text) is None or int(text) > MAX_LIMIT:
        raise InvalidRequest(
            f"Invalid value: '{shown(text)}'. 'limit' must be between 0 and {MAX_LIMIT}.", param="limit"
        )
    return int(text)


def moment(request: web.Request, name: str) -> int | None:
    """A time in unix seconds; None where the query has none."""
    text = request.query.get(name)
    if text is None:
        return None
    if _SECONDS.fullmatch(text) is None:
        raise InvalidRequest(f"Invalid value: '{shown(text)}'. '{name}' must be in unix seconds.", param=name)
    return int(text)


def order(request: web.Request) -> Literal["asc", "desc"]:
    """By which end a list begins."""
    match request.query.get("order", "desc"):
        case "asc":
            return "asc"
        case "desc":
            return "desc"
        case text:
            raise InvalidRequest(
                f"Invalid value: '{shown(text)}'. Supported values are: 'asc' and 'desc'.", param="order"
            )


def after(request: web.Request) -> str | None:
    """The id behind which a list goes on."""
    text = request.query.get("after")
    if text is not None and ID_PATTERN.fullmatch(text) is None:
        raise InvalidRequest(f"Invalid value: '{shown(text)}'. 'after' must be the id of a video.", param="after")
    return text


def variant(request: web.Request) -> Variant:
    """Which of a video's files is meant."""
    text = request.query.get("variant", "video")
    for known in VARIANTS:
        if text == known:
            return known
    raise InvalidRequest(
        f"Invalid value: '{shown(text)}'. Supported values are: 'video', 'thumbnail' and 'spritesheet'.",
        param="variant",
    )


def force(request: web.Request) -> bool:
    """Whether a running video is to be forgotten."""
    match request.query.get("force", "false"):
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case text:
            raise InvalidRequest(
                f"Invalid value: '{shown(text)}'. Supported values are: 'true' and 'false'.", param="force"
            )


def idempotency_key(request: web.Request) -> str | None:
    """The client's own name for a POST."""
    return _name(request.headers.get(IDEMPOTENCY_KEY), IDEMPOTENCY_KEY)


def named(request: web.Request) -> str | None:
    """The Idempotency-Key whose video is looked for."""
    return _name(request.query.get("idempotency_key"), "idempotency_key")


def _name(key: str | None, param: str) -> str | None:
    if key is not None and _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise InvalidRequest(f"'{param}' must have 1 to 255 printable ASCII characters.", param=param)
    return key


def is_resent(request: web.Request) -> bool:
    """Whether an official SDK says that it sends this request again."""
    count = request.headers.get(RETRY_COUNT, "0")
    return _RETRY_COUNT.fullmatch(count) is not None and int(count) > 0
