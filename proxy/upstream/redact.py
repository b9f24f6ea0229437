"""Takes secrets, addresses and ids out of what an upstream said, and known secrets out of the log."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

LONGEST: Final = 500
"""Characters that are left of a provider's sentence at most."""

SHORTEST_SECRET: Final = 6
"""Shorter values are no secrets; taking them out would tear ordinary words apart."""

_SECRET: Final = "[secret]"  # noqa: S105 - what stands in its place
_URL: Final = "[url]"
_ID: Final = "[id]"
_DATA: Final = "[data]"

# What is looked at before the cut to `LONGEST`: bounds the time that a hostile body can cost.
_LOOKED_AT: Final = 16_384

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")

_DATA_URI: Final = re.compile(r"\bdata:[\w.+-]+/[\w.+-]+(?:;[\w.+=-]+)*,[^\s\"'<>]*", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"\b(?:https?|wss?|ftp|gs|s3|oss|tos)(?::|%3a)(?:/|\\|%2f){2}[^\s\"'<>`]+", re.IGNORECASE)
_BEARER: Final = re.compile(r"\b(bearer|basic)[ :=]+(?=[^\s\"',;]*[\d_~+/=*])[^\s\"',;]{6,}", re.IGNORECASE)
_JWT: Final = re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?", re.ASCII)
_KEY_WORD: Final = re.compile(r"\b(?:sk|pk|rk|rg|r8|hf|gsk|xai|whsec)[-_][\w*.…-]*[\w*…]|\bAIza[\w*-]{8,}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:[+/][A-Za-z0-9_+/-]*)?={0,2}")
_RUN: Final = re.compile(r"[A-Za-z0-9]+")
_THREE_KINDS: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)", re.ASCII)
# Where the kind of character changes, but for a capital before small letters.
_TURN: Final = re.compile(r"(?<=[a-z])(?=[A-Z\d])|(?<=\d)(?=[A-Za-z])|(?<=[A-Z])(?=\d)", re.ASCII)

# As a name in capitals and small letters is cut into words.
_PIECE: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", re.ASCII)

_DIGIT: Final = re.compile(r"\d")
_SHORTEST_ID: Final = 6
_SHORTEST_CREDENTIAL: Final = 8  # longer than the scheme words before it
_OPEN_HEADERS: Final = frozenset(("accept", "content-type", "user-agent"))


def words_of(url: str, params: Mapping[str, str] | None, headers: Mapping[str, str]) -> list[str]:
    """What an answer may repeat of a call and no client may see: the job's id in the address, our credentials."""
    steps = [unquote(step) for step in urlsplit(url).path.split("/")]
    ids = [word for word in (*steps, *(params or {}).values()) if len(word) >= _SHORTEST_ID and _DIGIT.search(word)]
    return ids + credentials_in(headers)


def credentials_in(headers: Mapping[str, str]) -> list[str]:
    """The words of a channel's own headers that may be credentials."""
    values = [value for name, value in headers.items() if name.lower() not in _OPEN_HEADERS]
    return [word for value in values for word in value.split() if len(word) >= _SHORTEST_CREDENTIAL]


class Redactor:
    """Knows the process's secrets.

    `text` is for what an upstream said on its way to a client; `secrets` only takes the known secrets out, for our own
    log lines.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Know further secrets from now on; those shorter than `SHORTEST_SECRET` characters are ignored."""
        forms = {form for secret in secrets for form in _forms(secret)}
        if not forms <= self._forms:
            self._forms |= forms
            self._pattern = _any_of(self._forms)

    def secrets(self, text: str) -> str:
        """`text` without the known secrets and their quoted and base64 forms, otherwise unchanged."""
        return text if self._pattern is None else self._pattern.sub(_SECRET, text)

    def text(self, text: str, ids: Iterable[str] = ()) -> str:
        """One line of at most `LONGEST` characters without secrets, addresses, data, keys and ids.

        `ids` are further words to take out: the upstream's id of the job, the headers of the call.
        """
        if len(text) > _LOOKED_AT:
            # A secret that the cut tears apart would pass: the last word goes whole.
            text = text[:_LOOKED_AT].rpartition(" ")[0]
        text = self.secrets(text)
        if words := _any_of(word for word in ids if word):
            text = words.sub(_ID, text)
        text = " ".join(_CONTROL.sub(" ", text).split())
        # Again, because the white space inside a secret may have been another one.
        text = self.secrets(text)
        text = _DATA_URI.sub(_DATA, text)
        text = _ADDRESS.sub(_URL, text)
        text = _BEARER.sub(rf"\1 {_SECRET}", text)
        text = _JWT.sub(_SECRET, text)
        text = _KEY_WORD.sub(_key_word, text)
        text = _UUID.sub(_ID, text)
        text = _WORD.sub(_id_word, text)
        return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


class RedactingFilter(logging.Filter):
    """A filter for log handlers: the known secrets are taken out of the final message and of exception texts."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            # A wrong format string is the handler's to report, but then it prints the raw arguments.
            message = f"{record.msg} {record.args!r}"
        redacted = self._redactor.secrets(message)
        if redacted != record.msg or record.args:
            record.msg, record.args = redacted, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redactor.secrets(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor.secrets(record.stack_info)
        return True


def _any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    # The longest first: a secret that begins with another one must not leave its tail behind.
    ordered = sorted(set(words), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _forms(secret: str) -> set[str]:
    """`secret` itself and as it looks inside a URL, a JSON text and base64."""
    secret = secret.strip()
    if len(secret) < SHORTEST_SECRET:
        return set()
    data = secret.encode("utf-8", "surrogatepass")
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {quote(data, safe=""), quote(data), quote_plus(data)}
    # A multi-line secret (a service account's private key) also leaks line by line.
    forms |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= 2 * SHORTEST_SECRET}
    for shift in range(3):
        # The characters at both ends also depend on what stands beside the secret: only the sure middle is looked for.
        encoded = base64.b64encode(b"\0" * shift + data).decode("ascii").rstrip("=")
        start = (0, 2, 3)[shift]
        end = len(encoded) - (1 if (shift + len(data)) % 3 else 0)
        middle = encoded[start:end]
        if len(middle) >= SHORTEST_SECRET:
            forms |= {middle, middle.replace("+", "-").replace("/", "_")}
    return forms


def _key_word(match: re.Match[str]) -> str:
    word = match[0]
    tail = word[3:]
    # A key has a digit, a mask or length; "sk-learn" and "rg_limit" have none of them.
    looks = any(c.isdigit() or c in "*…" for c in tail) or len(tail) >= 16
    return _SECRET if looks else word


def _id_word(match: re.Match[str]) -> str:
    word = match[0]
    if len(word) < 12:
        return word
    runs = _RUN.findall(word)
    if any(map(_tangled, runs)):
        return _ID
    digits = sum(c.isdigit() for c in word)
    if not digits:
        return word
    # Ids are one long mixed run (01HXZ…, 9f86d0…), or mostly digits (cgt-20250401123456-abcde, 831922345719271433).
    # Names of models (veo-3.1-generate-001, sora-2-pro-2025-10-06) are short runs with few digits.
    if digits >= 12 or any(len(run) >= 16 and _mixed(run) for run in runs) or _scrambled(runs):
        return _ID
    if len(word) >= 32 and any(c.isupper() for c in word) and any(c.islower() for c in word) and set(word) & set("+/="):
        return _ID
    return word


def _mixed(run: str) -> bool:
    return any(c.isdigit() for c in run) and any(c.isalpha() for c in run)


def _tangled(run: str) -> bool:
    """Whether this is base64 that happens to have no digit, or few: much of it is no word of a name.

    A name (TheModelIsNotAvailableInYourRegion) has few words of one or two letters.
    """
    pieces = _PIECE.findall(run) if len(run) >= 24 else []
    return len(pieces) >= 6 and sum(len(piece) <= 2 for piece in pieces) >= 0.35 * len(pieces)


def _scrambled(runs: Iterable[str]) -> bool:
    """Whether these are the pieces of base64url, which `-` and `_` may tear into short ones (v1_EC0o9wNKi_4kIR3…).

    There, capitals, small letters and digits stand in any order; in a name (CogVideoX1, I2V-A14B) they seldom change.
    """
    pieces = [run for run in runs if _THREE_KINDS.match(run)]
    turns = sum(len(_TURN.findall(piece)) for piece in pieces)
    return turns >= 5 and turns >= 0.3 * sum(map(len, pieces))
