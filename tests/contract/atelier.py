"""The stand-in for Atelier (tests/contract/plugins/atelier.py)."""

from collections.abc import Mapping
from typing import ClassVar

from proxy.testing import Answer, Call, Job, Part, Refuse, Simulator, operation


class AtelierSimulator(Simulator):
    words: ClassVar[Mapping[str, str]] = {
        "queued": "accepted",
        "in_progress": "painting",
        "completed": "hung",
        "failed": "torn",
    }

    def error(self, status: int, message: str) -> Answer:
        return Answer(status=status, json={"message": message})

    @operation("create", "POST", "/v1/jobs")
    async def create(self, call: Call) -> Answer:
        return self.ordered(call, "create")

    @operation("list", "GET", "/v1/jobs")
    async def list(self, call: Call) -> Answer:
        own = [job for job in self.jobs.values() if job.account == call.account]
        found = [job for job in own if job.facts["reference"] == call.query.get("reference")]
        return Answer(json={"jobs": [self.shown(job).json for job in found]})

    @operation("fetch", "GET", "/v1/jobs/{id}")
    async def fetch(self, call: Call) -> Answer:
        return self.shown(self.poll(call, call.match["id"]))

    @operation("remix", "POST", "/v1/jobs/{id}/remix")
    async def remix(self, call: Call) -> Answer:
        return self.again(call, "remix")

    @operation("edit", "POST", "/v1/jobs/{id}/edit")
    async def edit(self, call: Call) -> Answer:
        return self.again(call, "edit")

    @operation("extend", "POST", "/v1/jobs/{id}/extend")
    async def extend(self, call: Call) -> Answer:
        return self.again(call, "extend")

    @operation("content", "GET", "/v1/jobs/{id}/film")
    async def film(self, call: Call) -> Answer:
        return self.serve(call, self.content_of(self.find(call, call.match["id"])))

    @operation("still", "GET", "/v1/jobs/{id}/still")
    async def still(self, call: Call) -> Answer:
        self.find(call, call.match["id"])
        return self.serve(call, b"\x89PNG\r\n\x1a\nstill", "image/png")

    @operation("cancel", "POST", "/v1/jobs/{id}/cancel")
    async def cancel(self, call: Call) -> Answer:
        self.find(call, call.match["id"]).cancelled = True
        self.put(call.match["id"], "called-off", means="failed")
        return Answer(json={})

    @operation("delete", "DELETE", "/v1/jobs/{id}")
    async def delete(self, call: Call) -> Answer:
        self.find(call, call.match["id"]).removed = True
        return Answer(json={})

    @operation("character", "POST", "/v1/characters")
    async def character(self, call: Call) -> Answer:
        if not isinstance(call.form.get("film"), Part):
            raise Refuse(self.error(400, "A film is needed."))
        return Answer(json={"character": "someone"})

    def again(self, call: Call, kind: str) -> Answer:
        if self.find(call, call.match["id"]).state != "hung":
            raise Refuse(self.error(400, "That job is not finished."))
        return self.ordered(call, kind)

    def ordered(self, call: Call, kind: str) -> Answer:
        if not call.fields.get("prompt"):
            raise Refuse(self.error(400, "A prompt is needed."))
        return self.shown(self.take(call, kind=kind, reference=call.fields.get("reference")))

    def shown(self, job: Job) -> Answer:
        why = {"why": job.failure[1]} if job.failure else {}
        return Answer(json={"job": job.id, "state": job.state, "done": job.progress, **why})
