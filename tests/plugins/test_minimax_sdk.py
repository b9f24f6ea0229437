"""plugins/minimax.py beside the official client of MiniMax, which knows V1: both make the same calls."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiohttp import web

from tests.plugins.minimax_wire import FILM, JOBS, KEY, PICTURE, URI, base, done, first, opened, retrieved, taking
from tests.plugins.openai_oracle import Call, Recorder

ROOT = Path(__file__).parents[2]


def answering(recorder: Recorder) -> None:
    """Take every order; its task is done."""

    def answer() -> web.Response:
        path = recorder.last.path
        said = retrieved() if "retrieve" in path else done() if "query" in path else None
        return web.json_response(said or {"task_id": "106916112212032", **base()})

    recorder.answer = answer


def told(call: Call) -> tuple[str, str, str, object]:
    return call.method, call.target, call.headers["authorization"], call.json


@pytest.mark.skipif("REELGATE_MINIMAX_PYTHON" not in os.environ, reason="REELGATE_MINIMAX_PYTHON names no Python")
async def test_the_official_client_makes_the_same_calls() -> None:
    """Three creations and the two calls for a result are the same, to the last field."""
    async with taking() as recorder:
        answering(recorder)
        process = await asyncio.create_subprocess_exec(
            *(os.environ["REELGATE_MINIMAX_PYTHON"], str(ROOT / "tests/plugins/minimax_caller.py"), URI),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "MINIMAX_API_HOST": recorder.base_url,
                "MINIMAX_API_KEY": KEY,
            },
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        theirs = [told(call) for call in recorder.calls]
        recorder.calls.clear()
        async with opened(recorder) as channel:
            plain = {"prompt": "a red kite"}
            await channel.create(first(seconds=10, **plain))
            await channel.create(first(size="1920x1080", images=(PICTURE,), **plain))
            await channel.create(first(model="T2V-01", size="1280x720", **plain))
            assert (await channel.fetch(JOBS["v1"])).url == FILM
        assert [told(call) for call in recorder.calls] == theirs
        assert len(theirs) == 5
