"""What is sent: thin events, which name a video and leave it to the receiver to fetch it."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

EVENT_TYPES: Final = ("video.completed", "video.failed")
"""What an endpoint can ask for."""

EVENT_OF: Final = {"completed": "video.completed", "failed": "video.failed"}
"""Public status of a video -> the event that tells of it."""


def event_id(video_id: str, event_type: str) -> str:
    """The id of the event that tells of a video's end: the same however often it is asked for."""
    return f"evt_{_hash(video_id, event_type)}"


def delivery_id(video_id: str, event_type: str, endpoint_id: str) -> str:
    """The `webhook-id` of that event at one endpoint: likewise always the same."""
    return f"wh_{_hash(video_id, event_type, endpoint_id)}"


def body(event_id: str, event_type: str, video_id: str, created_at: float) -> bytes:
    """The event as it is sent; `created_at` is in unix seconds."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(created_at),
        "type": event_type,
        "data": {"id": video_id},
    }
    return msgspec.json.encode(event)


def _hash(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]
