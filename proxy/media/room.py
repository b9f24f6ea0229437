"""A disk that is full, as the client is told of it."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from proxy.store import StoreBusy

OUT_OF_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""Errors of our own disk, or for want of it."""
_TRY_AGAIN: Final = 5.0


@asynccontextmanager
async def room() -> AsyncIterator[None]:
    """Raises a `StoreBusy` where a file cannot be written or opened for no fault of whoever sent it."""
    try:
        yield
    except OSError as error:
        if error.errno not in OUT_OF_ROOM:
            raise
        raise StoreBusy(
            f"What was sent cannot be kept at the moment ({os.strerror(error.errno)}). Please try again.",
            retry_after=_TRY_AGAIN,
        ) from error
