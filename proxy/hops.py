"""The hop header: how Reelgates behind one another notice that they stand in a circle.

Each adds a word of its own to the `x-reelgate-hops` of what it orders at the next one, and refuses what comes back with
that word in it. The word is a process's, new at each start: what waited through one may go round once more. A gateway
between them has to pass the header on.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import Final

from proxy.errors import LoopDetected

HEADER: Final = "x-reelgate-hops"
MOST: Final = 8
"""Reelgates that an order may pass."""

_WORD: Final = re.compile(r"\b[0-9a-f]{16}\b", re.ASCII)

travelled: ContextVar[str] = ContextVar("reelgate_hops", default="")
"""The words of all Reelgates that this task's order has come to, this one among them: the header for the next."""


def word() -> str:
    """A word for this process."""
    return secrets.token_hex(8)


def arrive(header: str, own: str) -> None:
    """Note that an order has come here by the way that `header` tells. Raises `LoopDetected` where it may not go on."""
    words = _WORD.findall(header)
    if own in words or len(words) >= MOST:
        raise LoopDetected(
            "This order came back to a Reelgate that had sent it on (loop_detected): a channel leads, maybe through "
            "others, to its own server. Only the operator can change that, by its base_url."
            if own in words
            else f"This order has come through {MOST} Reelgates already (loop_detected); that many are a circle."
        )
    travelled.set(", ".join([*words, own]))


def onward() -> dict[str, str]:
    """The headers with which what is being ordered goes to an upstream that may be a Reelgate, or lead to one."""
    return {HEADER: told} if (told := travelled.get()) else {}
