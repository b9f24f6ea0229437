"""What the bodies of answers look like. Where the surface has a struct for it, that is what is described."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.api.description.words import (
    MOMENT,
    NUMBER,
    TEXT,
    TIME,
    WHOLE,
    YES_NO,
    Json,
    about,
    exactly,
    listed,
    maybe,
    ref,
    several,
    shape,
    word,
)
from proxy.api.files import FileObject
from proxy.api.render import VideoObject
from proxy.models import STATUSES
from proxy.records import STAGES
from proxy.webhooks import EVENT_TYPES

_STATUS: Final = word(*STATUSES)
_MONEY: Final = {"value": NUMBER, "currency": exactly("usd")}
_NUMBERS: Final = {"videos": WHOLE, "completed": WHOLE, "failed": WHOLE, "seconds": WHOLE, "cost": ref("Money")}
_PERIOD: Final = word("day", "month", "total")
_OWNED: Final = {
    "tenant": about(TEXT, "Whose it is: keys and users of one tenant share their videos."),
    "key": shape({"id": TEXT, "name": maybe(TEXT)}),
    "operation": word("create", "remix", "edit", "extend"),
    "channel": maybe(TEXT),
    "stage": word(*STAGES),
}
_DOSSIER: Final = {
    "video": ref("Video"),
    **_OWNED,
    "upstream_model": maybe(TEXT),
    "upstream_id": maybe(TEXT),
    "replaces_video_id": maybe(TEXT),
    "replaced_by_video_id": maybe(TEXT),
    "attempts": several(ref("Attempt")),
}
_ABILITIES: Final[Json] = {
    "supported_seconds": about(several(TEXT), "Empty: any that has the right form is passed on."),
    "supported_sizes": about(several(TEXT), "Empty: any that has the right form is passed on."),
    "default_seconds": TEXT,
    "default_size": TEXT,
    "image_input": YES_NO,
    "max_images": about(maybe(WHOLE), "Null: no bound is known."),
    "last_frame": YES_NO,
    "audio": about(maybe(YES_NO), "Null: not known."),
    "remix": YES_NO,
    "edit": YES_NO,
    "extend": YES_NO,
    "supported_extension_seconds": several(TEXT),
    "price_per_second": about(maybe(NUMBER), "US dollars; null: not known."),
    "prices_per_second": {"type": "object", "additionalProperties": NUMBER},
}
_ENDPOINT: Final = {
    "id": TEXT,
    "object": exactly("webhook_endpoint"),
    "created_at": MOMENT,
    "updated_at": MOMENT,
    "event_types": several(word(*EVENT_TYPES)),
    "name": TEXT,
    "url": TEXT,
    "signing_secret_hint": TEXT,
    "stopped_at": about(WHOLE, "Since when nothing is delivered, because nothing could be."),
}
_KEY: Final = {
    "id": TEXT,
    "object": exactly("api_key"),
    "name": TEXT,
    "state": word("active", "expired", "revoked"),
    "tenant": TEXT,
    "user": maybe(shape({"id": TEXT, "name": TEXT})),
    "admin": YES_NO,
    "chooses_channel": about(YES_NO, "Whether its requests may name their channel (`metadata.channel`)."),
    "created_at": MOMENT,
    "last_used_at": maybe(MOMENT),
    "revoked_at": maybe(MOMENT),
    "expires_at": maybe(MOMENT),
    "allowed_models": maybe(several(TEXT)),
    "allowed_channels": maybe(several(TEXT)),
    "allowed_addresses": maybe(several(TEXT)),
    "requests_per_minute": maybe(WHOLE),
    "max_running": maybe(WHOLE),
    "budget": maybe(shape({**_MONEY, "period": _PERIOD})),
    "spent": about(shape({**_MONEY, "period": _PERIOD}), "In the running period of its budget, else in this month."),
    "left": maybe(ref("Money")),
}


def all_schemas() -> Json:
    """Every schema of the components by its name."""
    _, made = msgspec.json.schema_components([VideoObject, FileObject], ref_template="#/components/schemas/{name}")
    video, file = made.pop("VideoObject"), made.pop("FileObject")
    video["description"] = "A video: what was ordered, and what became of it."
    video["properties"]["metadata"] = {"type": "object", "description": "As the client sent it."}
    video["properties"]["cost"] = about(
        video["properties"]["cost"], "What is reserved for it, and in the end (`final`) what it came to."
    )
    file["description"] = "An uploaded file."
    for schema, name in ((video, "video"), (file, "file")):
        schema["properties"]["object"] = exactly(name)
        schema.pop("title", None)
    return {**made, "Video": video, "File": file, **_clients(), **_operators()}


def _videos() -> Json:
    page = listed(ref("Video"))
    page["properties"]["idempotency_key"] = about(TEXT, "The one that was asked for.")
    return page


def _clients() -> Json:
    return {
        "Error": shape(
            {
                "error": shape(
                    {"message": TEXT, "type": TEXT, "param": maybe(TEXT), "code": maybe(TEXT)},
                )
            },
            description="What went wrong. Under `/video/generations` there are `code`, `message` and `data` beside it.",
        ),
        "Money": shape(_MONEY, description="US dollars."),
        "Videos": _videos(),
        "DeletedVideo": shape({"id": TEXT, "object": exactly("video.deleted"), "deleted": {"const": True}}),
        "Character": shape({"id": TEXT, "name": TEXT, "created_at": MOMENT}),
        "Model": shape(
            {
                "id": TEXT,
                "object": exactly("model"),
                "created": MOMENT,
                "owned_by": TEXT,
                "shutdown_date": {"type": "null"},
                **_ABILITIES,
            }
        ),
        "Models": shape({"object": exactly("list"), "data": several(ref("Model"))}),
        "VideoModel": shape(
            {
                "id": TEXT,
                "object": exactly("video.model"),
                **_ABILITIES,
            }
        ),
        "VideoModels": shape({"object": exactly("list"), "data": several(ref("VideoModel"))}),
        "Generation": shape(
            {
                "code": exactly("success"),
                "message": TEXT,
                "data": shape(
                    {
                        "task_id": TEXT,
                        "platform": TEXT,
                        "action": TEXT,
                        "status": word("NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS", "SUCCESS", "FAILURE"),
                        "fail_reason": TEXT,
                        "result_url": TEXT,
                        "submit_time": MOMENT,
                        "start_time": MOMENT,
                        "finish_time": MOMENT,
                        "progress": TEXT,
                        "properties": {"type": "object"},
                        "data": ref("Video"),
                    }
                ),
            }
        ),
        "Files": listed(ref("File")),
        "DeletedFile": shape({"id": TEXT, "object": exactly("file"), "deleted": {"const": True}}),
        "WebhookEndpoint": shape(_ENDPOINT, optional=["stopped_at"]),
        "NewWebhookEndpoint": shape(
            {**_ENDPOINT, "signing_secret": about(TEXT, "Shown here only.")}, optional=["stopped_at"]
        ),
        "WebhookEndpoints": listed(ref("WebhookEndpoint")),
        "DeletedWebhookEndpoint": shape(
            {"id": TEXT, "object": exactly("webhook_endpoint.deleted"), "deleted": {"const": True}}
        ),
        "WebhookTest": shape(
            {
                "object": exactly("webhook_endpoint.test"),
                "webhook_endpoint_id": TEXT,
                "event_type": word(*EVENT_TYPES),
                "status_code": about(WHOLE, "What the receiver answered."),
                "success": {"const": True},
            }
        ),
        "EventTypes": shape({"object": exactly("list"), "data": several(TEXT)}),
        "Event": shape(
            {
                "id": TEXT,
                "object": exactly("event"),
                "created_at": MOMENT,
                "type": word(*EVENT_TYPES),
                "data": shape({"id": about(TEXT, "The id of the video.")}),
            }
        ),
        "Usage": shape(
            {
                "object": exactly("usage"),
                "start_time": MOMENT,
                "end_time": MOMENT,
                "group_by": several(word("day", "model", "channel", "key")),
                "data": several(
                    shape(
                        {"day": TEXT, "model": TEXT, "channel": TEXT, "key": TEXT, **_NUMBERS},
                        optional=["day", "model", "channel", "key"],
                    )
                ),
                "total": shape(_NUMBERS),
                "budget": maybe(
                    shape({"period": _PERIOD, "limit": ref("Money"), "spent": ref("Money"), "left": ref("Money")})
                ),
            },
            optional=["budget"],
        ),
        "State": shape({"status": TEXT}),
    }


def _operators() -> Json:
    return {
        "Key": shape(_KEY),
        "Keys": listed(ref("Key")),
        "ChangedKey": shape(
            {**_KEY, "warnings": about(several(TEXT), "Models and channels that it names and that are not there.")}
        ),
        "NewKey": shape(
            {
                **_KEY,
                "key": about(TEXT, "The key itself, shown here only."),
                "warnings": about(several(TEXT), "Models and channels that it names and that are not there."),
            }
        ),
        "RevokedKey": shape({"id": TEXT, "object": exactly("api_key.revoked"), "revoked_at": MOMENT}),
        "User": shape(
            {
                "id": TEXT,
                "object": exactly("user"),
                "name": TEXT,
                "role": word("admin", "member"),
                "tenant": TEXT,
                "created_at": MOMENT,
                "password_changed_at": MOMENT,
                "last_login_at": maybe(MOMENT),
                "disabled": YES_NO,
                "disabled_at": maybe(MOMENT),
            }
        ),
        "Users": listed(ref("User")),
        "LoggedOut": shape({"id": TEXT, "object": exactly("user.logged_out"), "sessions": WHOLE}),
        "Channel": shape(
            {
                "name": TEXT,
                "object": exactly("channel"),
                "configured": {"const": True},
                "type": TEXT,
                "enabled": YES_NO,
                "switched": about(maybe(word("on", "off")), "What an operator said over the file."),
                "priority": NUMBER,
                "weight": NUMBER,
                "max_running": maybe(WHOLE),
                "running": WHOLE,
                "waiting": WHOLE,
                "throttled_for": NUMBER,
                "breaker": shape({"state": TEXT, "why": TEXT, "open_for": NUMBER}),
                "models": several(
                    shape(
                        {
                            "id": TEXT,
                            "upstream": TEXT,
                            "price_per_second": maybe(NUMBER),
                            "prices_per_second": {"type": "object", "additionalProperties": NUMBER},
                        }
                    )
                ),
                "can": several(TEXT),
                "last_24_hours": shape(
                    {
                        "videos": WHOLE,
                        "completed": WHOLE,
                        "failed": about(WHOLE, "Without those that moderation refused."),
                        "success_rate": maybe(NUMBER),
                        "median_seconds": about(maybe(NUMBER), "From submission to end of the completed ones."),
                        "spent": ref("Money"),
                    }
                ),
            }
        ),
        "GoneChannel": shape(
            {"name": TEXT, "object": exactly("channel"), "configured": {"const": False}, "running": WHOLE}
        ),
        "Channels": shape(
            {
                "object": exactly("list"),
                "data": several({"anyOf": [ref("Channel"), ref("GoneChannel")]}),
            }
        ),
        "ChannelTest": shape(
            {
                "object": exactly("channel.test"),
                "name": TEXT,
                "verdict": word("answers", "refused", "unreachable", "failed"),
                "message": TEXT,
                "seconds": NUMBER,
            }
        ),
        "Attempt": shape(
            {
                "id": TEXT,
                "channel": TEXT,
                "state": word("recorded", "taken", "refused", "unknown", "absent"),
                "settled": maybe(word("attached", "not_created", "given_up")),
                "started_at": TIME,
                "ended_at": maybe(TIME),
                "upstream_id": maybe(TEXT),
                "note": TEXT,
                "decision": maybe({"type": "object"}),
            }
        ),
        "Doubt": shape(
            {
                "id": TEXT,
                "object": exactly("unknown_outcome"),
                "kind": word("unknown", "late"),
                "grace_ends_at": maybe(TIME),
                "recovers": maybe(YES_NO),
                "estimated_price": maybe(NUMBER),
                **_DOSSIER,
            }
        ),
        "Doubts": listed(ref("Doubt")),
        "Settled": shape({"video": ref("Video"), "delivered_as": maybe(TEXT)}),
        "AdminVideo": shape(
            {
                "id": TEXT,
                "object": exactly("admin.video"),
                "video": ref("Video"),
                **_OWNED,
                "user": maybe(TEXT),
                "charge": about(ref("Money"), "What counts for it now."),
            }
        ),
        "AdminVideos": listed(ref("AdminVideo")),
        "Story": shape(
            {
                **_DOSSIER,
                "waits_for": maybe({"type": "object", "additionalProperties": TEXT}),
                "audit": several(ref("AuditEntry")),
            }
        ),
        "AuditEntry": shape(
            {
                "id": TEXT,
                "object": exactly("audit"),
                "at": TIME,
                "actor": about(TEXT, "The id of a key or a user, or who else it was."),
                "action": TEXT,
                "subject": TEXT,
                "details": {"type": "object"},
            }
        ),
        "AuditEntries": listed(ref("AuditEntry")),
    }
