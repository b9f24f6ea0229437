"""A receiver of webhooks in a process of its own, which fails nearly a third of them the first time.

`python -m tests.soak.receiver --record FILE --seed N` prints its port and serves until it is ended. `PUT /secrets/NAME`
tells it the secret of the endpoint `/hooks/NAME`; every delivery is verified by the official SDK when it comes, since a
signature is good for five minutes only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from pathlib import Path

import openai
from aiohttp import web

from tests.soak.journal import Journal
from tests.soak.upstream import HOST, reset

FAILING = 0.3
FAILURES = ("500", "503", "hang", "reset", "redirect")


class Receiver:
    """Records each delivery before it is answered. One id is failed once at most: its third try is minutes away."""

    def __init__(self, record: Journal, seed: int) -> None:
        self._record = record
        self._seed = seed
        self._secrets: dict[str, str] = {}
        self._failed: set[str] = set()
        self._sdk = openai.OpenAI(api_key="none")

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_put("/secrets/{name}", self._learn)
        app.router.add_post("/hooks/{name}", self._receive)
        app.router.add_route("*", "/redirected", self._redirected)
        return app

    async def _learn(self, request: web.Request) -> web.Response:
        self._secrets[request.match_info["name"]] = await request.text()
        return web.Response()

    async def _redirected(self, request: web.Request) -> web.Response:
        self._record.write(event="redirect followed", method=request.method)
        return web.Response()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        body = await request.read()
        event_id = request.headers.get("webhook-id", "")
        chance = random.Random(f"{self._seed}/{event_id}")
        failure = None
        if event_id not in self._failed and chance.random() < FAILING:
            self._failed.add(event_id)
            failure = chance.choice(FAILURES)
        self._record.write(
            event="delivery",
            endpoint=name,
            webhook_id=event_id,
            valid=self._valid(name, body, dict(request.headers)),
            failure=failure,
            **told(body),
        )
        # While the answer is on its way, so that a kill may come between the two.
        await asyncio.sleep(chance.uniform(0, 0.05))
        if failure is None:
            return web.Response()
        if failure.isdigit():
            return web.Response(status=int(failure))
        if failure == "redirect":
            return web.Response(status=302, headers={"Location": "/redirected"})
        if failure == "hang":
            await asyncio.sleep(5)
        return reset(request)

    def _valid(self, name: str, body: bytes, headers: dict[str, str]) -> bool:
        try:
            self._sdk.webhooks.unwrap(body, headers, secret=self._secrets.get(name, ""))
        except (openai.InvalidWebhookSignatureError, ValueError):
            return False
        return True


def told(body: bytes) -> dict[str, object]:
    """What an event says: its type and its video; nothing where it is no event."""
    try:
        event = json.loads(body)
        return {"type": event["type"], "video": event["data"]["id"], "object": event["object"], "event_id": event["id"]}
    except (ValueError, KeyError, TypeError):
        return {"type": None, "video": None, "object": None, "event_id": None}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    runner = web.AppRunner(Receiver(Journal(options.record), options.seed).app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
