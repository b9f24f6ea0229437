"""The operations of `/admin/api`."""

from __future__ import annotations

from typing import Final

from proxy.accounts import terms
from proxy.accounts.administration import MAX_NAME
from proxy.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from proxy.api.admin.asked import MAX_WORD
from proxy.api.admin.unknown import MAX_NOTE
from proxy.api.admin.videos import LISTED_STAGES
from proxy.api.description.clients import USAGE_QUERY
from proxy.api.description.words import (
    JSON,
    TEXT,
    YES_NO,
    Json,
    Needs,
    after,
    answer,
    body,
    exactly,
    limit,
    operation,
    path,
    query,
    ref,
    several,
    shape,
    text,
    wish,
    word,
)
from proxy.api.queries import DEFAULT_LIMIT, MAX_LIMIT
from proxy.engine.inbox import MAX_UPSTREAM_ID, WORDS
from proxy.models import STATUSES

_READ: Final[tuple[Needs, ...]] = ({"key": []}, {"session": []})
_CHANGE: Final[tuple[Needs, ...]] = ({"key": []}, {"session": [], "csrf": []})
_WORD: Final = text(1, MAX_WORD, pattern="^[!-~]+$")
_NAMES: Final = several(_WORD, minItems=1, maxItems=terms.MAX_WORDS)
_LIMITS: Final = {
    "allowed_models": _NAMES,
    "allowed_channels": _NAMES,
    "allowed_addresses": several(
        {"type": "string", "description": "An IP address or a network, such as `10.0.0.0/8`."},
        minItems=1,
        maxItems=terms.MAX_WORDS,
    ),
    "expires_at": {"type": "integer", "maximum": terms.LATEST, "description": "Unix seconds, to come."},
    "requests_per_minute": {"type": "integer", "minimum": 0, "maximum": terms.MAX_PER_MINUTE},
    "max_running": {"type": "integer", "minimum": 0, "maximum": terms.MAX_RUNNING},
    "budget": shape(
        {
            "value": {
                "anyOf": [
                    {"type": "number", "minimum": 0, "maximum": terms.MAX_BUDGET},
                    {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"},
                ]
            },
            "currency": exactly("usd"),
            "period": word(*terms.PERIODS),
        },
        optional=["currency", "period"],
        additionalProperties=False,
    ),
}
_NAME: Final = text(1, MAX_NAME, pattern="^[!-~]([ -~]*[!-~])?$")
_ROLE: Final = word("admin", "member")
_PASSWORD: Final = text(MIN_LENGTH, MAX_LENGTH)
_KEY_ID: Final = path("id", "The id of a key.")
_USER_ID: Final = path("id", "The id of a user.")
_VIDEO_ID: Final = path("id", "The id of a video.")
_MOMENT: Final[Json] = {"type": "integer", "minimum": 0, "maximum": 99_999_999_999}
_CHANNEL: Final = path("name", "The name of a channel in channels.yaml.")
_PAGE: Final = limit(MAX_LIMIT, DEFAULT_LIMIT, 0)


def operations() -> Json:
    """Path -> method -> operation."""
    return {
        f"/admin/api{address}": methods
        for address, methods in {**_videos(), **_channels(), **_keys(), **_users(), **_lists()}.items()
    }


def _read(name: str, summary: str, ok: Json, parameters: tuple[Json, ...] = (), *errors: int) -> Json:
    return operation(name, summary, ok, tag="Admin", parameters=parameters, errors=errors, security=_READ)


def _change(name: str, summary: str, ok: Json, wanted: Json | None, *errors: int, required: bool = True) -> Json:
    asked = None if wanted is None else body({JSON: wanted}, required=required)
    return operation(name, summary, ok, tag="Admin", body=asked, errors=errors, security=_CHANGE)


def _videos() -> Json:
    answers = {
        "answer": word(*WORDS),
        "upstream_id": text(1, MAX_UPSTREAM_ID),
        "note": text(1, MAX_NOTE),
        "force": YES_NO,
    }
    return {
        "/unknown": {
            "get": _read(
                "listUnknown",
                "Submissions whose outcome is in doubt",
                answer("A page of them.", ref("Doubts")),
                (after("the attempt"), _PAGE),
            )
        },
        "/videos": {
            "get": _read(
                "searchVideos",
                "Videos of all tenants that fit",
                answer("A part of them: it goes on behind `last_id` while `has_more`.", ref("AdminVideos")),
                (
                    query("status", word(*STATUSES), "What its owner sees."),
                    query("stage", word(*LISTED_STAGES), "Where it is, finer than that."),
                    *(query(name, _WORD, "Only its own.") for name in ("model", "channel", "key", "tenant")),
                    query("text", _WORD, "It stands in the prompt."),
                    query("start_time", _MOMENT, "Ordered then or later (unix seconds)."),
                    query("end_time", _MOMENT, "Ordered before (unix seconds)."),
                    after("the video"),
                    limit(MAX_LIMIT, DEFAULT_LIMIT),
                ),
            )
        },
        "/videos/{id}": {
            "parameters": [_VIDEO_ID],
            "get": _read("videoStory", "All that is known of a video", answer("It.", ref("Story")), (), 404),
        },
        "/videos/{id}/resolve": {
            "parameters": [_VIDEO_ID],
            "post": _change(
                "resolveVideo",
                "Say what became of a submission in doubt",
                answer("It is settled.", ref("Settled")),
                wish(answers, required=["answer"]),
                *(404, 502, 504),
            ),
        },
    }


def _channels() -> Json:
    found = answer("The channel.", ref("Channel"))
    return {
        "/channels": {"get": _read("listChannels", "How the channels stand", answer("All.", ref("Channels")))},
        **{
            f"/channels/{{name}}/{word_}": {
                "parameters": [_CHANNEL],
                "post": _change(name, summary, ok, wish({}), 404, required=False),
            }
            for word_, name, summary, ok in (
                ("enable", "enableChannel", "Give a channel new videos, whatever the file says", found),
                ("disable", "disableChannel", "Give a channel no new videos", found),
                ("follow_file", "followFile", "Go by the file again", found),
                (
                    "test",
                    "testChannel",
                    "Ask its upstream something that costs nothing",
                    answer("What came of it.", ref("ChannelTest")),
                ),
            )
        },
    }


def _keys() -> Json:
    new = {"name": _NAME, "user": text(1, MAX_WORD), "admin": YES_NO, "chooses_channel": YES_NO, **_LIMITS}
    changes = {"name": _NAME, "chooses_channel": YES_NO, **_LIMITS}
    return {
        "/keys": {
            "get": _read(
                "listKeys",
                "API keys, newest first, revoked ones too",
                answer("A page of them.", ref("Keys")),
                (query("tenant", _WORD, "Only its own."), after("the key"), _PAGE),
            ),
            "post": _change(
                "createKey",
                "Make a key; it is shown in this answer only",
                answer("The key.", ref("NewKey")),
                wish(new, required=["name"]),
            ),
        },
        "/keys/{id}": {
            "parameters": [_KEY_ID],
            "get": _read("retrieveKey", "A key", answer("It.", ref("Key")), (), 404),
            "post": _change(
                "changeKey",
                "Change a key: what is left out stays, null takes a limit away",
                answer("As it is now.", ref("ChangedKey")),
                wish(changes),
                404,
                required=False,
            ),
            "delete": _change("revokeKey", "End a key for good", answer("It is ended.", ref("RevokedKey")), None, 404),
        },
    }


def _users() -> Json:
    user = answer("The user.", ref("User"))
    name = text(1, 64, pattern="^[A-Za-z0-9][A-Za-z0-9._@+-]*$")
    return {
        "/users": {
            "get": _read("listUsers", "The users of the dashboard", answer("All.", ref("Users"))),
            "post": _change(
                "createUser",
                "Make a user",
                user,
                wish({"name": name, "password": _PASSWORD, "role": _ROLE}, required=["name", "password"]),
            ),
        },
        "/users/{id}": {
            "parameters": [_USER_ID],
            "get": _read("retrieveUser", "A user", user, (), 404),
            "post": _change(
                "changeUser",
                "Change a user; a new password and disabling log it out everywhere",
                user,
                wish({"role": _ROLE, "disabled": YES_NO, "password": _PASSWORD}),
                404,
                required=False,
            ),
        },
        "/users/{id}/sessions": {
            "parameters": [_USER_ID],
            "delete": _change("logOut", "Log a user out everywhere", answer("It is.", ref("LoggedOut")), None, 404),
        },
    }


def _lists() -> Json:
    usage = answer("Numbers in groups, and in all.", ref("Usage"))
    usage["content"]["text/csv"] = {"schema": TEXT}
    return {
        "/usage": {
            "get": _read(
                "adminUsage",
                "What was ordered, and what it costs",
                usage,
                (
                    query("tenant", _WORD, "Only its own."),
                    query("key", _WORD, "Only its own."),
                    query("format", word("json", "csv"), "How it is told."),
                    *USAGE_QUERY,
                ),
            )
        },
        "/audit": {
            "get": _read(
                "audit",
                "What operators did, newest first",
                answer("A page of it.", ref("AuditEntries")),
                (query("after", {"type": "string", "pattern": "^[0-9]{1,18}$"}, "Go on behind this row."), _PAGE),
            )
        },
    }
