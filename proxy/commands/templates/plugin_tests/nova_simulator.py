"""Nova, as its documentation describes it: a stand-in on loopback, which costs nothing.

https://docs.nova.example/tasks

Write it from the provider's pages and not from the plugin, or both have the same mistakes. What it refuses is worth as
much as what it takes.
"""

import time
from collections.abc import Mapping
from typing import ClassVar

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation

LENGTHS = (5, 10)
SIZES = ("1280x720", "720x1280")
LINK_LIFE = 3600


class NovaSimulator(Simulator):
    # Our word -> the provider's.
    words: ClassVar[Mapping[str, str]] = {
        "queued": "pending",
        "in_progress": "running",
        "completed": "succeeded",
        "failed": "failed",
    }

    def error(self, status: int, message: str) -> Answer:
        return Answer(status=status, json={"error": {"code": "refused", "message": message}})

    @operation("create", "POST", "/v1/tasks")
    async def create(self, call: Call) -> Answer:
        if not call.fields.get("prompt"):
            raise Refuse(self.error(400, "A prompt is needed."))
        if call.fields.get("seconds") not in LENGTHS or call.fields.get("size") not in SIZES:
            raise Refuse(self.error(400, "That length or size cannot be made."))
        # From here on the job is paid for.
        return self.told(self.take(call))

    @operation("fetch", "GET", "/v1/tasks/{id}")
    async def fetch(self, call: Call) -> Answer:
        return self.told(self.poll(call, call.match["id"]))

    @operation("content", "GET", "/films/{id}.mp4", open=True)
    async def content(self, call: Call) -> Answer:
        return self.serve(call, self.content_of(self.find(call, call.match["id"])))

    def told(self, job: Job) -> Answer:
        body: dict[str, object] = {"id": job.id, "state": job.state, "progress": job.progress}
        if job.state == "succeeded":
            # Results lie at a second origin, where no key is wanted.
            link = f"{self.files_url}/films/{job.id}.mp4"
            body["video"] = {"url": link, "expires_at": int(time.time()) + LINK_LIFE}
        if job.failure:
            body["error"] = dict(zip(("code", "message"), job.failure, strict=True))
        return Answer(json=body)
