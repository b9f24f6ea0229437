"""Lumen, a made-up provider: the smallest simulator, for the plugin of docs/examples/lumen.py.

https://docs.lumen.example/generations
"""

import time
from collections.abc import Mapping
from typing import ClassVar

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation

LENGTHS = range(1, 21)


class LumenSimulator(Simulator):
    words: ClassVar[Mapping[str, str]] = {
        "queued": "waiting",
        "in_progress": "rendering",
        "completed": "ready",
        "failed": "rejected",
    }

    def error(self, status: int, message: str) -> Answer:
        return Answer(status=status, json={"error": {"message": message}})

    @operation("create", "POST", "/v2/generations")
    async def create(self, call: Call) -> Answer:
        if not call.fields.get("text") or call.fields.get("length") not in LENGTHS:
            raise Refuse(self.error(400, "A text and a length of 1 to 20 are needed."))
        return self.task(self.take(call))

    @operation("fetch", "GET", "/v2/generations/{id}")
    async def fetch(self, call: Call) -> Answer:
        return self.task(self.poll(call, call.match["id"]))

    @operation("content", "GET", "/results/{id}.mp4", open=True)
    async def content(self, call: Call) -> Answer:
        return self.serve(call, self.content_of(self.find(call, call.match["id"])))

    def task(self, job: Job) -> Answer:
        task = {"id": job.id, "state": job.state, "percent": job.progress}
        if job.state == "ready":
            task["output"] = {"mp4": f"{self.files_url}/results/{job.id}.mp4", "expires": int(time.time()) + 3600}
        if job.failure:
            task["reason"] = job.failure[1]
        return Answer(json={"task": task})
