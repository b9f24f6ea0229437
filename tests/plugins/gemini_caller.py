"""Plain HTTP to the Gemini simulator, for the tests of the simulator itself."""

from __future__ import annotations

from typing import Any

import aiohttp

from tests.plugins.gemini_bodies import INTERACTIONS, VEO
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_files import KEY

OTHER = "AIzaSyB-another-account-91c4e7d05b"


class Caller:
    """One key's HTTP, without following redirects."""

    def __init__(self, sim: GeminiSimulator, http: aiohttp.ClientSession, key: str = KEY) -> None:
        self.sim = sim
        self.http = http
        self.headers = {"x-goog-api-key": key}

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        url = path if path.startswith("http") else f"{self.sim.base_url}/v1beta/{path}"
        async with self.http.request(
            method, url, **{"headers": self.headers, "allow_redirects": False, **kwargs}
        ) as got:
            if got.status == 302:
                return got.status, got.headers["Location"]
            return got.status, await (got.json() if got.content_type == "application/json" else got.read())

    async def order(self, body: Any = None, **changes: Any) -> tuple[int, Any]:
        """An interaction in the background; a field that is None is left out."""
        made = {**INTERACTIONS["background"], **(body or {}), **changes}
        return await self.call("POST", "interactions", json={k: v for k, v in made.items() if v is not None})

    async def made(self, body: Any = None, **changes: Any) -> str:
        """The id of an interaction that is completed."""
        status, told = await self.order(body, **changes)
        assert status == 200, told
        self.sim.finish(told["id"])
        return str(told["id"])

    async def look(self, job_id: str) -> Any:
        status, told = await self.call("GET", job_id if job_id.startswith("models/") else f"interactions/{job_id}")
        assert status == 200, told
        return told

    async def predict(self, model: str = VEO, parameters: Any = None, **instance: Any) -> tuple[int, Any]:
        body = {"instances": [{"prompt": "a cat", **instance}], "parameters": parameters or {}}
        return await self.call("POST", f"models/{model}:predictLongRunning", json=body)

    async def film(self, **parameters: Any) -> str:
        """The address of a film of Veo's."""
        status, told = await self.predict(parameters=parameters)
        assert status == 200, told
        self.sim.finish(told["name"])
        samples = (await self.look(told["name"]))["response"]["generateVideoResponse"]["generatedSamples"]
        return str(samples[0]["video"]["uri"])


def word_of(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["status"]
