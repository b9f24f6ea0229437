"""What is Kling's own on the wire: error codes, JWTs, and pictures without the prefix of a data URI."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tests.simulators.kling_models import OMNI
from tests.simulators.media import measure

CODES: Final[Mapping[int, tuple[int, str]]] = {
    1000: (401, "Authentication failed"),
    1001: (401, "Authorization is empty"),
    1002: (401, "Authorization is invalid"),
    1003: (401, "Authorization is not yet valid"),
    1004: (401, "Authorization has expired"),
    1100: (429, "Account exception"),
    1101: (429, "Account in arrears"),
    1102: (429, "Resource pack depleted or expired"),
    1103: (403, "Unauthorized access to requested resource"),
    1200: (400, "Invalid request parameters"),
    1201: (400, "Invalid parameters"),
    1202: (404, "The requested method is invalid"),
    1203: (404, "The requested resource does not exist"),
    1300: (400, "Trigger strategy of the platform"),
    1301: (400, "Trigger the content security policy of the platform"),
    1302: (429, "API request is too fast, exceeding the rate limit"),
    1303: (429, "parallel task over resource pack limit"),
    1304: (429, "Trigger the platform's IP whitelist policy"),
    5000: (500, "Internal server error"),
    5001: (503, "Server temporarily unavailable"),
    5002: (504, "Server internal timeout"),
}
"""The HTTP status and the sentence of each code."""
CODE_OF: Final = {400: 1201, 401: 1000, 402: 1101, 403: 1103, 404: 1203, 422: 1201, 429: 1302, 500: 5000, 503: 5001}
LARGEST_PICTURE: Final = 10 * 2**20
SMALLEST_SIDE: Final = 300
WIDEST: Final = 2.5


def asked_for(path: str, body: bytes) -> str:
    """What an order is: omni-video makes, edits (a film to be changed) and goes on (a film to refer to)."""
    try:
        films = json.loads(body).get("video_list") if path.endswith(OMNI) else None
        how = films[0].get("refer_type", "base") if films else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        how = None
    return {"base": "edit", "feature": "extend"}.get(how or "", "create")


def signer(token: str, keys: Collection[str], now: float) -> str | int:
    """The pair `ak|sk` of `keys` that a JWT was made with, or the code of the error that it is."""
    parts = token.split(".")
    head, claims = (unpacked(part) for part in (*parts, "", "")[:2])
    if len(parts) != 3 or head is None or claims is None or head.get("alg") != "HS256":
        return 1002
    pair = next((key for key in keys if "|" in key and key.partition("|")[0] == claims.get("iss")), None)
    if pair is None:
        return 1002
    made = hmac.new(pair.partition("|")[2].encode(), f"{parts[0]}.{parts[1]}".encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(base64.urlsafe_b64encode(made).rstrip(b"="), parts[2].encode()):
        return 1000
    if not all(type(claims.get(name)) is int for name in ("exp", "nbf")):
        return 1002
    return 1003 if claims["nbf"] > now else 1004 if claims["exp"] <= now else pair


def unpacked(part: str) -> dict[str, Any] | None:
    """The object in one part of a JWT: base64url without padding."""
    try:
        data = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and "=" not in part else None


def pictures(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every input picture, with the name of its field."""
    for name in ("image", "image_tail", "image_url", "static_mask"):
        if name in fields:
            yield name, fields[name]
    for item in fields.get("image_list", []):
        yield "image_list", item.get("image", item.get("image_url"))
    for item in fields.get("dynamic_masks", []):
        yield "dynamic_masks", item.get("mask")


def wrong_picture(value: Any) -> str:
    """Why a picture is refused: it must be an address, which is not fetched here, or base64 without any prefix."""
    if not isinstance(value, str) or not value:
        return "must be a URL or base64"
    if is_address(value):
        return ""
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error:
        return "must be a URL, or base64 without the prefix of a data URI"
    size = measure(data)
    if size is None or not data.startswith((b"\xff\xd8", b"\x89PNG")):
        return "must be a JPEG or PNG"
    if len(data) > LARGEST_PICTURE:
        return "must have at most 10 MB"
    width, height = map(int, size.split("x"))
    if min(width, height) < SMALLEST_SIDE:
        return f"must have at least {SMALLEST_SIDE} pixels on each side"
    return "" if abs(math.log(width / height)) <= math.log(WIDEST) else "must have a ratio of 1:2.5 to 2.5:1"


def is_address(value: Any) -> bool:
    try:
        parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
