"""Another Reelgate: what docs/clients.md says beyond OpenAI's ten operations.

What it says is held against the product itself in tests/plugins/test_openai_reelgate.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any

from proxy.testing import Answer, Call, Job, Part, operation
from tests.simulators.media import measure
from tests.simulators.openai import OpenAISimulator, unbracket

MODELS = ("sora-2", "sora-2-pro")
FURTHER = ("model", "seed", "negative_prompt", "audio", "metadata")
SPELT = ("characters", "metadata", "seed", "audio")
"""What is JSON in a form."""


class ReelgateSimulator(OpenAISimulator):
    """It refuses fields that it does not know, which a real one would take for metadata."""

    def __init__(self, *, keys: Collection[str] = ("sk-test",)) -> None:
        super().__init__(keys=keys)
        self.cancels = True
        """Whether the channel behind it can cancel."""
        self.knows_names = True
        """False: an older one, which lists all videos whatever Idempotency-Key is asked for."""

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, f"Video with id '{job_id}' not found.", code="video_not_found")

    def take(self, call: Call, *, kind: str = "create", **facts: Any) -> Job:
        return super().take(call, kind=kind, key=call.headers.get("idempotency-key"), **facts)

    @operation("list", "GET", "/v1/videos")
    async def list(self, call: Call) -> Answer:
        name = call.query.get("idempotency_key")
        if name is None or not self.knows_names:
            return await super().list(call)
        jobs = [job for job in self.jobs.values() if job.account == call.account and not job.removed]
        page = [self.video(job) for job in jobs if job.facts["key"] == name]
        ends = {"first_id": page[0]["id"], "last_id": page[0]["id"]} if page else {"first_id": None, "last_id": None}
        return self.said({"object": "list", "data": page, **ends, "has_more": False, "idempotency_key": name})

    @operation("models", "GET", "/v1/models")
    async def list_models(self, call: Call) -> Answer:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "reelgate"} for name in MODELS]
        return self.said({"object": "list", "data": data})

    @operation("delete", "DELETE", "/v1/videos/{id}")
    async def delete(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        if job.state == "in_progress" and not self.cancels:
            raise self.refuse("Its channel cannot cancel it; add ?force=true.", code="video_not_deletable")
        job.cancelled = job.state in ("queued", "in_progress")
        job.removed = True
        return self.said({"id": job.id, "object": "video.deleted", "deleted": True})

    def body(self, call: Call, *known: str) -> dict[str, Any]:
        known = (*known, *FURTHER, *(("images", "last_frame") if "input_reference" in known else ()))
        if call.content_type != "multipart/form-data":
            return super().body(call, *known)
        fields = unbracket([part for part in call.parts if part.name != "images"], self.refuse)
        fields |= {name: json.loads(fields[name]) for name in SPELT if name in fields}
        if images := [part for part in call.parts if part.name == "images"]:
            fields["images"] = images
        if unknown := fields.keys() - {*known}:
            raise self.refuse(f"Unknown parameter: '{min(unknown)}'.", param=min(unknown), code="unknown_parameter")
        return fields

    async def reference(self, call: Call, value: Any, size: str) -> None:
        """Refuse what is no picture; one of another size it fits itself."""
        if isinstance(value, Part) and await asyncio.to_thread(measure, value.data) is None:
            raise self.refuse("The input reference is not a JPEG, PNG or WebP image.", param="input_reference")
