"""Signed links to inputs, for upstreams that take nothing but a public address."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from proxy.errors import Unauthorized

LIFE: Final = 3600
"""Seconds that a link is good for."""
PATH: Final = "/v1/inputs/"

_EXPIRY: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class InputLinks:
    """Makes and checks the links; `public_url` is the address that the world has of this server, None where it has
    none. A link is as good as the file behind it: whoever holds one may fetch that file until it expires or the file
    is gone."""

    def __init__(self, secret: bytes, public_url: str | None) -> None:
        self._secret = secret
        self.public_url = public_url

    def link(self, name: str, *, now: float) -> str | None:
        """The address of the stored input `name` (`owner/file`); None where there is no `public_url`."""
        if self.public_url is None:
            return None
        expires_at = str(int(now) + LIFE)
        return f"{self.public_url}{PATH}{name}?exp={expires_at}&sig={self._signature(name, expires_at)}"

    def check(self, name: str, query: Mapping[str, str], *, now: float) -> None:
        """Raise `Unauthorized` unless `query` was signed for the stored input `name` and is still good."""
        expires_at, signature = query.get("exp", ""), query.get("sig", "").encode("utf-8", "surrogatepass")
        if _EXPIRY.fullmatch(expires_at) is None or not hmac.compare_digest(
            signature, self._signature(name, expires_at).encode()
        ):
            raise Unauthorized("This link is not valid for this file.")
        if int(expires_at) < now:
            raise Unauthorized("This link has expired.")

    def _signature(self, name: str, expires_at: str) -> str:
        # The secret signs other things too: the first word keeps them apart.
        said = f"input|{name}|{expires_at}".encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(hmac.digest(self._secret, said, hashlib.sha256)).rstrip(b"=").decode("ascii")
