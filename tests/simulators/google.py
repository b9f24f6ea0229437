"""What Google's simulators share: service accounts with keys, the token endpoint, the envelope of errors.

https://developers.google.com/identity/protocols/oauth2/service-account: a JWT (RS256) is exchanged for a token. Its
`aud` is not looked at, for Google's own library leaves it as it is where a key file names another token_uri.
"""

from __future__ import annotations

import base64
import functools
import json
import secrets
import time
import uuid
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from proxy.testing import Answer, Call, Refuse, Simulator, operation

EMAIL = "veo@reelgate-test.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM = "application/x-www-form-urlencoded"
MAX_LIFE, SKEW = 3600, 300
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
STATUSES |= {409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


@functools.cache
def private_key(email: str) -> rsa.RSAPrivateKey:
    """The key of that service account; a short one, for every channel looks for it in all of its forms."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def key_id(email: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, email).hex


def project_of(email: str) -> str:
    """The project that a service account belongs to, which its address names."""
    return email.partition("@")[2].partition(".")[0]


def service_account(email: str = EMAIL, *, token_uri: str = "https://oauth2.googleapis.com/token") -> dict[str, str]:
    """The key file of a service account, as the console gives it."""
    pem = private_key(email).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": project_of(email),
        "private_key_id": key_id(email),
        "private_key": pem.decode(),
        "client_email": email,
        "client_id": "100000000000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    }


class GoogleApi(Simulator):
    """A simulator that speaks of errors as Google does."""

    def error(self, status: int, message: str, *, details: Collection[Any] = (), word: str = "") -> Answer:
        body: dict[str, Any] = {"code": status, "message": message, "status": word or STATUSES.get(status, "UNKNOWN")}
        if details:
            body["details"] = list(details)
        return Answer(status=status, json={"error": body})

    def refuse(self, message: str, status: int = 400, *, word: str = "") -> Refuse:
        return Refuse(self.error(status, message, word=word))


class GoogleSimulator(GoogleApi):
    """The accounts of a Google simulator. `keys` are addresses of service accounts.

    Without an address in `keys` a service account still gets tokens, but may do nothing (403); `known` is who gets
    tokens.
    """

    def __init__(self, *, keys: Collection[str] = (EMAIL,)) -> None:
        super().__init__(keys=keys)
        self.known = set(keys)
        self.token_lifetime = 3599
        self.tokens: dict[str, tuple[str, float]] = {}
        """Every access token, with its account and its end."""

    # -- tokens --------------------------------------------------------------------------------------------------------

    def credentials(self, email: str = EMAIL) -> dict[str, str]:
        """The key file of a service account whose tokens come from here."""
        return service_account(email, token_uri=f"{self.base_url}/token")

    def expire_tokens(self) -> None:
        """Let every token end now."""
        self.tokens = {token: (email, 0.0) for token, (email, _) in self.tokens.items()}

    @operation("token", "POST", "/token", open=True)
    async def token(self, call: Call) -> Answer:
        form = {name: values[0] for name, values in parse_qs(call.body.decode("utf-8", "replace")).items()}
        if call.content_type != FORM or form.get("grant_type") != GRANT:
            raise self.no_grant("Invalid grant_type.", "unsupported_grant_type")
        claims = self.claims(form.get("assertion", ""))
        now, issued, ends = time.time(), claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int) or not isinstance(ends, int):
            raise self.no_grant("Invalid JWT: iat and exp are needed.")
        if issued > now + SKEW or ends < now - SKEW or not 0 < ends - issued <= MAX_LIFE:
            raise self.no_grant("Invalid JWT: Token must be a short-lived token (60 minutes).")
        if SCOPE not in str(claims.get("scope", "")).split():
            raise self.no_grant("Invalid OAuth scope or ID token audience provided.", "invalid_scope")
        access = f"ya29.c.{secrets.token_urlsafe(48)}"
        self.tokens[access] = (claims["iss"], now + self.token_lifetime)
        return Answer(json={"access_token": access, "expires_in": self.token_lifetime, "token_type": "Bearer"})

    def claims(self, assertion: str) -> dict[str, Any]:
        """What a JWT says, once its signature is the account's."""
        signed, _, signature = assertion.rpartition(".")
        try:
            header, claims = (json.loads(from_base64url(part)) for part in signed.split("."))
            email, kid = claims["iss"], header.get("kid", "")
            if header["alg"] != "RS256" or email not in self.known or kid not in ("", key_id(email)):
                raise self.no_grant("Invalid grant: account not found")
            public = private_key(email).public_key()
            public.verify(from_base64url(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise self.no_grant("Invalid JWT Signature.") from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise self.no_grant("Bad Request") from None
        return dict(claims)

    def no_grant(self, description: str, code: str = "invalid_grant") -> Refuse:
        # OAuth's own envelope (RFC 6749, 5.2), not Google's.
        return Refuse(Answer(status=400, json={"error": code, "error_description": description}))

    def bearer(self, call: Call) -> str | None:
        """Whose token a call has, while it lives."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        email, ends = self.tokens.get(token, ("", 0.0))
        return email if scheme == "Bearer" and time.time() < ends else None

    def authenticate(self, call: Call) -> str | None:
        email = self.bearer(call)
        return email if email in self.keys else None

    def unauthorised(self, call: Call) -> Answer:
        if self.bearer(call) is not None:
            return self.denied(call)
        wrong = "had invalid" if "authorization" in call.headers else "is missing required"
        return self.error(401, f"Request {wrong} authentication credentials. Expected OAuth 2 access token.")

    def denied(self, call: Call) -> Answer:
        resource = f"//aiplatform.googleapis.com{call.path}"
        return self.error(403, f"Permission 'aiplatform.endpoints.predict' denied on resource '{resource}'.")


def from_base64url(text: str) -> bytes:
    """The bytes of one part of a JWT, which is never padded (RFC 7515, 2)."""
    if set(text) & set("+/="):
        raise ValueError("not base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
