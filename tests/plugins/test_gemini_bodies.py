"""plugins/gemini.py: its bodies beside those of the official SDK for the same orders."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy import Clip, Picture, UpstreamJob
from proxy.models import Kind
from tests.plugins.gemini_bodies import INTERACTIONS, PNG, PREDICT, filled
from tests.plugins.gemini_wire import URI, opened, request, taking, veo

PICTURE = Picture(base64.b64decode(PNG), "image/png", 32, 18)
BOAT: Mapping[str, Any] = {"prompt": "a paper boat"}
PREVIOUS, OLD = (UpstreamJob(name, "completed", facts={"uri": URI}) for name in ("v1_before", "models/x/operations/1"))
FILM = b"a film"


def plain(body: dict[str, Any]) -> Any:
    """`body` without the plugin's way to get the film, and with its parts in no order."""
    body = json.loads(json.dumps(body))
    body.get("response_format", {}).pop("delivery", None)
    if isinstance(body.get("input"), list):
        body["input"][0]["content"].sort(key=lambda part: str(part["type"]))
    return body


async def ours(kind: Kind, source: UpstreamJob | None, wanted: Any, shape: str) -> Any:
    """The body that the plugin sends."""
    async with taking() as recorder, opened(recorder, shape=shape) as channel:
        channel.check(wanted)
        await (channel.create(wanted) if kind == "create" else getattr(channel, kind)(wanted, source))
        return recorder.last.json


@pytest.mark.parametrize(
    ("name", "kind", "source", "changes"),
    [
        ("background", "create", None, BOAT),
        ("uri", "create", None, BOAT),
        ("first_frame", "create", None, {**BOAT, "images": (PICTURE,)}),
        ("extend", "extend", PREVIOUS, {"prompt": "it sails on"}),
        ("extend_file", "extend", OLD, {"prompt": "it sails on"}),
    ],
)
async def test_interactions(name: str, kind: Kind, source: UpstreamJob | None, changes: Mapping[str, Any]) -> None:
    """An order is what the SDK sends for it, but for the delivery and the order of its parts."""
    found = await ours(kind, source, request(kind=kind, **changes), "interactions")
    assert plain(found) == plain(filled(INTERACTIONS[name], previous="v1_before", uri=URI))


async def test_an_edit_has_no_length() -> None:
    """An edit is what the SDK sends, but for the duration, which its source has."""
    found = await ours("edit", PREVIOUS, request(kind="edit", prompt="the same at night"), "interactions")
    body = filled(INTERACTIONS["edit"], previous="v1_before")
    del body["response_format"]["duration"]
    assert plain(found) == body


@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    [
        ("text", "create", {"prompt": "a cat"}),
        ("tall", "create", {"prompt": "a cat", "size": "1080x1920", "negative_prompt": "blur"}),
        ("frames", "create", {"prompt": "a cat", "images": (PICTURE,), "last_frame": PICTURE, "seconds": 6}),
        ("extension", "extend", {"prompt": "it runs"}),
        ("extension_of_bytes", "extend", {"prompt": "it runs"}),
    ],
)
async def test_predictions(tmp_path: Path, name: str, kind: Kind, changes: dict[str, Any]) -> None:
    """An instance is the SDK's own, and so is each parameter that both set."""
    source = OLD if name == "extension" else None
    if name == "extension_of_bytes":
        changes = {**changes, "video": Clip(tmp_path / "clip.mp4")}
        await asyncio.to_thread((tmp_path / "clip.mp4").write_bytes, FILM)
    found = await ours(kind, source, veo(kind=kind, **changes), "predict")
    body = filled(PREDICT[name].body, uri=URI, film=base64.b64encode(FILM).decode())
    assert found["instances"] == body["instances"]
    both = found["parameters"].keys() & body["parameters"].keys()
    assert all(found["parameters"][one] == body["parameters"][one] for one in both)
