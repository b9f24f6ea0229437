"""Signed links to content: who holds one may download one variant of one video until it expires."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from proxy.errors import Unauthorized
from proxy.models import Variant

STABLE: Final = 3600
"""Seconds for which the link of a video stays the same, so that caches and pages can keep it."""

_EXPIRY: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def is_signed(query: Mapping[str, str]) -> bool:
    """Whether the query of a content request is meant to be a signed link."""
    return "sig" in query or "exp" in query


def sign(secret: bytes, video_id: str, variant: Variant, *, ttl: int, now: float) -> str:
    """The query of a link that is good for `ttl` seconds and up to an hour more; the same for a whole hour."""
    expires_at = (int(now) // STABLE + 1) * STABLE + ttl
    query = f"exp={expires_at}&sig={_signature(secret, video_id, variant, str(expires_at))}"
    return query if variant == "video" else f"variant={variant}&{query}"


def check(secret: bytes, video_id: str, variant: Variant, query: Mapping[str, str], *, now: float) -> None:
    """Raise `Unauthorized` unless `query` was signed with `secret` for this video and variant and is still good."""
    expires_at, signature = query.get("exp", ""), query.get("sig", "").encode("utf-8", "surrogatepass")
    if _EXPIRY.fullmatch(expires_at) is None or not hmac.compare_digest(
        signature, _signature(secret, video_id, variant, expires_at).encode()
    ):
        raise Unauthorized("This link is not valid for this content. Ask for the video to get a new one.")
    if int(expires_at) < now:
        raise Unauthorized("This link has expired. Ask for the video to get a new one.")


@functools.lru_cache(maxsize=4096)
def _signature(secret: bytes, video_id: str, variant: str, expires_at: str) -> str:
    # The secret signs sessions too: the first word keeps the two apart.
    said = f"content|{video_id}|{variant}|{expires_at}".encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, said, hashlib.sha256)).rstrip(b"=").decode("ascii")
