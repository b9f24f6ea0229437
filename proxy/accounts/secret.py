"""The secret that signs links and sessions."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from proxy.errors import StoreError

FILE = "secret"
SHORTEST = 32
"""Bytes below which a secret could be guessed by whoever has something that it signed."""


def load_secret(data: Path) -> bytes:
    """The secret of the data folder, made at the first start; `REELGATE_SECRET` is used instead where it is set."""
    file = data / FILE
    try:
        return _read(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(
            f"{file}: cannot read the secret ({error.strerror}): check its owner and permissions"
        ) from error
    try:
        # With a store in another place, nobody has made it yet.
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written whole under another name first: a crash must not leave half a secret, which would be used.
        fresh = file.with_name(f"{FILE}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(file)
    except OSError as error:
        raise StoreError(
            f"{file}: cannot write the secret ({error.strerror}): check the folder's owner and permissions"
        ) from error
    return _read(file)


def _read(file: Path) -> bytes:
    secret = file.read_bytes().strip()
    if len(secret) < SHORTEST:
        raise StoreError(f"{file}: too short to be a secret; remove it, and a new one is made at the next start")
    return secret
