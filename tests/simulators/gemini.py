"""The Gemini Developer API: Gemini Omni over interactions, Veo over predictLongRunning, and the files of both.

Rules: https://ai.google.dev/gemini-api/docs/omni and …/docs/video, as the fact sheet has them; each shape and what it
leaves open is in a module of its own.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from proxy.testing import Answer, Call, Operation
from tests.simulators.gemini_omni import Interactions, asked_for
from tests.simulators.gemini_veo import Predict

_SAME = {"remix": "edit"}
"""What the contract asks for by another name: a remix is an order on a previous interaction, as an edit is."""


def kind_of(path: str, body: bytes) -> str:
    """What an order asks for: "create", "edit" or "extend"."""
    try:
        order = json.loads(body)
        if not path.endswith(":predictLongRunning"):
            return asked_for(order)
        return "extend" if "video" in order["instances"][0] else "create"
    except (ValueError, LookupError, TypeError, RecursionError):
        return "create"


class GeminiSimulator(Interactions, Predict):
    """Both shapes on one origin; redirected downloads are at `files_url`.

    Its states are the words of an interaction, which those of an operation are in all but spelling. A job's id is the
    interaction's or the operation's whole name.
    """

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, f"{job_id} is not found.")

    def moderate(self, job_id: str, *, count: int | None = None) -> None:
        """Let the filter stop the job's film: it is done, and none is there. Of Veo's several films it may be some."""
        job = self.jobs[job_id]
        some = count is not None and count < job.facts["parameters"]["sampleCount"]
        job.facts["filtered"] = count or 0
        self.put(job_id, "completed" if some else "filtered", means="completed")

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    def mangle(self, change: Any, *, on: str | None = None, times: int | None = 1) -> None:
        super().mangle(change, on=_SAME.get(on or "", on), times=times)

    def _handler(
        self, operation: Operation, method: Callable[[Call], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler = super()._handler
        if operation.name != "create":
            return handler(operation, method)
        # One route for several operations, which tests script and count apart.
        kinds = {kind: handler(replace(operation, name=kind), method) for kind in ("create", "edit", "extend")}

        async def handle(request: web.Request) -> web.StreamResponse:
            return await kinds[kind_of(request.path, await request.read())](request)

        return handle
