"""The stand-in for Kiln (tests/contract/plugins/kiln.py)."""

import base64
from collections.abc import Mapping
from typing import ClassVar

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation


class KilnSimulator(Simulator):
    words: ClassVar[Mapping[str, str]] = {
        "queued": "drying",
        "in_progress": "firing",
        "completed": "glazed",
        "failed": "cracked",
    }

    @operation("create", "POST", "/v1/firings")
    async def create(self, call: Call) -> Answer:
        if not call.fields.get("words"):
            raise Refuse(self.error(400, "Words are needed."))
        return self.shown(self.take(call))

    @operation("fetch", "GET", "/v1/firings/{id}")
    async def fetch(self, call: Call) -> Answer:
        job = self.poll(call, call.match["id"])
        return self.shown(job, within=job.state == "glazed" and "within" in call.query)

    @operation("content", "GET", "/v1/firings/{id}/film")
    async def film(self, call: Call) -> Answer:
        answer = {"film": self.film_of(self.find(call, call.match["id"]))}
        return Answer(json=answer, chunked=not self.sends_length, cut_at=self.cut_content_at)

    def film_of(self, job: Job) -> dict[str, str]:
        return {"kind": "video/mp4", "data": base64.b64encode(self.content_of(job)).decode()}

    def shown(self, job: Job, *, within: bool = False) -> Answer:
        more = {"why": job.failure[1]} if job.failure else {}
        if within:
            more |= {"film": self.film_of(job), "still": base64.b64encode(bytes(100_000)).decode()}
        return Answer(json={"firing": job.id, "state": job.state, **more})
