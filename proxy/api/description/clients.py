"""The operations of `/v1`, and those without a credential."""

from __future__ import annotations

from typing import Final

from proxy.api.description import videos
from proxy.api.description.videos import BYTES, DIRECTION, MULTIPART, SIGNED
from proxy.api.description.words import (
    JSON,
    TEXT,
    YES_NO,
    Json,
    after,
    answer,
    body,
    exactly,
    header,
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
from proxy.api.files import FOREIGN_PURPOSES, LIFETIMES
from proxy.api.files import MAX_LIMIT as MOST_FILES
from proxy.api.pictures import MAX_URL
from proxy.api.queries import DEFAULT_LIMIT, MAX_LIMIT
from proxy.api.webhooks import MAX_NAME
from proxy.media.library import PURPOSES
from proxy.webhooks import EVENT_TYPES

_FILE_ID: Final = path("id", "The id of a file.")
_ENDPOINT_ID: Final = path("id", "The id of a webhook endpoint.")
_ENDPOINT: Final = {
    "name": text(1, MAX_NAME, pattern="^[!-~][ -~]*$"),
    "url": text(1, MAX_URL, pattern="^https?://"),
    "event_types": several(word(*EVENT_TYPES), minItems=1),
}
USAGE_QUERY: Final = (
    query("start_time", {"type": "integer", "minimum": 0}, "Unix seconds; 30 days ago where it is left out."),
    query("end_time", {"type": "integer", "minimum": 0}, "Unix seconds, a year later at most; now if left out."),
    query("group_by", TEXT, "`day`, `model`, `channel` and `key` with commas between; `day` where it is left out."),
)


def operations() -> Json:
    """Path -> method -> operation, of `/v1` without that."""
    return {**videos.operations(), **_files(), **_webhooks(), **_usage()}


def public() -> Json:
    """The same of what probes, scrapers and readers ask for."""
    return {
        "/healthz": {"get": _open("healthz", "Whether the process lives", ref("State"))},
        "/readyz": {
            "get": operation(
                "readyz",
                "Whether it takes requests",
                {"200": answer("It does.", ref("State")), "503": answer("Not yet, or no more.", ref("State"))},
                tag="Server",
                common=(),
                security=(),
            )
        },
        "/metrics": {
            "get": operation(
                "metrics",
                "What the process counts, for Prometheus",
                answer("All numbers.", TEXT, kind="text/plain"),
                tag="Server",
                description="For an admin's key or session, or with `metrics: open` for everybody.",
                security=({"key": []}, {"session": []}),
            )
        },
        "/openapi.json": {"get": _open("openapi", "This description", {"type": "object"})},
    }


def _open(name: str, summary: str, schema: Json) -> Json:
    return operation(name, summary, answer(summary + ".", schema), tag="Server", common=(), security=())


def _files() -> Json:
    lifetime = shape(
        {
            "anchor": exactly("created_at"),
            "seconds": {"type": "integer", "minimum": LIFETIMES[0], "maximum": LIFETIMES[-1]},
        }
    )
    form = {
        "type": "object",
        "properties": {"file": BYTES, "purpose": word(*PURPOSES), "expires_after": lifetime},
        "required": ["file", "purpose"],
        "additionalProperties": False,
    }
    sent = {"200": "The bytes.", "206": "The range of them."}
    return {
        "/files": {
            "post": operation(
                "createFile",
                "Upload a picture or a clip",
                answer("The file.", ref("File")),
                tag="Files",
                body=body({MULTIPART: form}),
            ),
            "get": operation(
                "listFiles",
                "Your files",
                answer("A page of them.", ref("Files")),
                tag="Files",
                parameters=(
                    after("the file"),
                    limit(MOST_FILES, MOST_FILES),
                    DIRECTION,
                    query("purpose", word(*PURPOSES, *FOREIGN_PURPOSES), "Only those."),
                ),
            ),
        },
        "/files/{id}": {
            "parameters": [_FILE_ID],
            "get": operation("retrieveFile", "A file", answer("It.", ref("File")), tag="Files", errors=[404]),
            "delete": operation(
                "deleteFile", "Delete a file", answer("It is deleted.", ref("DeletedFile")), tag="Files", errors=[404]
            ),
        },
        "/files/{id}/content": {
            "parameters": [_FILE_ID],
            "get": operation(
                "fileContent",
                "The bytes of a file",
                {
                    **{code: answer(said, BYTES, kind="*/*") for code, said in sent.items()},
                    "304": answer("The client has them already."),
                },
                tag="Files",
                parameters=[header("Range", TEXT, "Which bytes.")],
                errors=[404, 416],
            ),
        },
        "/inputs/{owner}/{name}": {
            "parameters": [path("owner", "Whose input it is."), path("name", "The name of the file.")],
            "get": operation(
                "inputContent",
                "What a client sent in, for the upstream that holds a signed link to it",
                {
                    **{code: answer(said, BYTES, kind="*/*") for code, said in sent.items()},
                    "304": answer("The client has them already."),
                },
                tag="Files",
                common=(401, 403, 500),
                errors=[404, 416],
                security=(SIGNED,),
            ),
        },
    }


def _webhooks() -> Json:
    new = answer("The endpoint, with its secret.", ref("NewWebhookEndpoint"))
    old = answer("The endpoint.", ref("WebhookEndpoint"))
    keep = "keep_old_secret_active_for_24_hours"
    return {
        "/webhook_endpoints": {
            "post": operation(
                "createWebhookEndpoint",
                "Have events sent somewhere",
                new,
                tag="Webhooks",
                body=body({JSON: wish(_ENDPOINT, required=list(_ENDPOINT))}),
            ),
            "get": operation(
                "listWebhookEndpoints",
                "Where your events go",
                answer("A page of them.", ref("WebhookEndpoints")),
                tag="Webhooks",
                parameters=(after("the endpoint"), limit(MAX_LIMIT, DEFAULT_LIMIT), DIRECTION),
            ),
        },
        "/webhook_endpoints/{id}": {
            "parameters": [_ENDPOINT_ID],
            "get": operation("retrieveWebhookEndpoint", "An endpoint", old, tag="Webhooks", errors=[404]),
            "post": operation(
                "updateWebhookEndpoint",
                "Change an endpoint; one that was stopped goes on",
                old,
                tag="Webhooks",
                body=body({JSON: wish(_ENDPOINT)}, required=False),
                errors=[404],
            ),
            "delete": operation(
                "deleteWebhookEndpoint",
                "Delete an endpoint",
                answer("It is deleted.", ref("DeletedWebhookEndpoint")),
                tag="Webhooks",
                errors=[404],
            ),
        },
        "/webhook_endpoints/{id}/rotate_secret": {
            "parameters": [_ENDPOINT_ID],
            "post": operation(
                "rotateWebhookSecret",
                "Give an endpoint a new secret",
                new,
                tag="Webhooks",
                body=body({JSON: wish({keep: YES_NO})}, required=False),
                errors=[404],
            ),
        },
        "/webhook_endpoints/{id}/test": {
            "parameters": [_ENDPOINT_ID],
            "post": operation(
                "testWebhookEndpoint",
                "Send an event of no video, once and now",
                answer("The receiver answered.", ref("WebhookTest")),
                tag="Webhooks",
                body=body({JSON: wish({"event_type": word(*EVENT_TYPES)}, required=["event_type"])}),
                errors=[404],
            ),
        },
        "/webhook_event_types": {
            "get": operation(
                "listWebhookEventTypes", "What there are events of", answer("All.", ref("EventTypes")), tag="Webhooks"
            )
        },
    }


def _usage() -> Json:
    return {
        "/usage": {
            "get": operation(
                "usage",
                "What your videos cost",
                answer("Numbers in groups, and in all.", ref("Usage")),
                tag="Usage",
                parameters=(
                    query("scope", word("key", "tenant"), "This key's, or of all keys that share its videos."),
                    *USAGE_QUERY,
                ),
            )
        }
    }
