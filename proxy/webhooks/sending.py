"""One POST to a receiver that somebody else chose, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from proxy.errors import InvalidRequest
from proxy.upstream import Http
from proxy.upstream.answers import retry_after
from proxy.upstream.guard import NOTHING, Allowance, ForbiddenAddress, UnusableUrl, check_public, check_url

log = logging.getLogger("reelgate.webhooks")

TIMEOUT: Final = 15.0
"""Seconds that a receiver has for its whole answer."""
USER_AGENT: Final = "Reelgate-Webhooks/1.0"

_BODY_WAIT: Final = 1.0
_BODY_BYTES: Final = 4096
_ASKS_TO_WAIT: Final = frozenset((429, 503))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver did: `status` is None where it gave no answer. `note` says it as a part of a sentence, without
    its address; `retry_after` are the seconds that it asked for."""

    status: int | None
    note: str
    retry_after: float | None = None

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Sends to public addresses, and to the private ones that `allowance` permits; it may be set anew."""

    def __init__(self, http: Http, *, allowance: Allowance = NOTHING, timeout: float = TIMEOUT) -> None:
        self._http = http
        self.allowance = allowance
        self._timeout = timeout

    def check(self, url: str) -> None:
        """`InvalidRequest` unless an endpoint can have `url`; what its name resolves to is seen when it is called."""
        try:
            check_public(url, self.allowance)
        except ForbiddenAddress:
            raise InvalidRequest(
                "Invalid 'url': its address is not public. This server sends webhooks there only when its operator "
                "allows the host (server.webhook_hosts).",
                param="url",
            ) from None
        except UnusableUrl as error:
            raise InvalidRequest(f"Invalid 'url': {error.message}", param="url") from None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST `body` to `url`; whatever goes wrong is an `Answer` too. Redirects are not followed."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(check_url(url), body, headers)
        except TimeoutError:
            return Answer(None, f"the receiver gave no answer within {self._timeout:g} seconds")
        except UnusableUrl:
            return Answer(None, "the receiver's address is not public, and the operator does not allow it")
        except aiohttp.ClientConnectorError:
            return Answer(None, "the receiver could not be connected to")
        except (aiohttp.ClientError, OSError):
            return Answer(None, "the connection to the receiver broke, or its answer was no HTTP")
        except Exception as bug:
            # Its text could name the address.
            log.error("a webhook could not be sent: %s", type(bug).__name__)
            return Answer(None, "the request could not be made")

    async def _post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        session = self._http.calls if self.allowance.permits(url) else self._http.foreign
        plain = {
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            # A connection that was kept may be dead, and a POST is not sent again by itself.
            "Connection": "close",
        }
        async with session.post(
            url,
            data=body,
            headers={**plain, **headers},
            allow_redirects=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            status = response.status
            # Polite, not needed: a receiver whose answer is left unread sees its connection reset.
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(_BODY_WAIT):
                    await response.content.read(_BODY_BYTES)
            asked = None
            if status in _ASKS_TO_WAIT:
                asked = retry_after({name.lower(): value for name, value in response.headers.items()})
            return Answer(status, f"the receiver answered HTTP {status}", asked)
