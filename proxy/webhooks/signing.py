"""Secrets and signatures, as Standard Webhooks and OpenAI's SDKs have them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from secrets import token_bytes
from typing import Final

from proxy.store.webhooks import Endpoint

PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_SHOWN: Final = 4


def new_secret() -> str:
    """A new secret, in the form in which its owner is told it."""
    return PREFIX + base64.b64encode(token_bytes(_SECRET_BYTES)).decode("ascii")


def hint(secret: str) -> str:
    """What may be shown of a secret, so that its owner knows which one it is."""
    return f"{PREFIX}****{secret.rstrip('=')[-_SHOWN:]}"


def headers(webhook_id: str, body: bytes, endpoint: Endpoint, now: float) -> dict[str, str]:
    """The headers by which the receiver knows that `body` comes from us, signed with each secret that is good at `now`.

    `now` is in unix seconds: receivers refuse what is older than five minutes.
    """
    signed = f"{webhook_id}.{int(now)}.".encode("ascii") + body
    secrets = [endpoint.secret]
    if endpoint.old_secret is not None and endpoint.old_secret_until is not None and now < endpoint.old_secret_until:
        secrets.append(endpoint.old_secret)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")
