"""What the tests of plugins/comfyui.py stand on: workflows, and a channel before a recorder or a simulator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugins.comfyui import Comfyui, ComfyuiOptions
from proxy import Picture, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder
from tests.plugins.openai_oracle import request as general

KEY = "proxy-key-0123456789abcdef"
PICTURE = Picture(PNG, "image/png", 1280, 720)
LAST = Picture(PNG[::-1], "image/jpeg", 1280, 720)
SIZES = {"width": "{{width}}", "height": "{{height}}", "length": "{{frames}}", "batch_size": 1}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


TEXT: dict[str, Any] = {
    "1": node("UNETLoader", unet_name="wan2.2.safetensors", weight_dtype="default"),
    "2": node("CLIPLoader", clip_name="umt5.safetensors", type="wan"),
    "3": node("VAELoader", vae_name="wan_vae.safetensors"),
    "4": node("CLIPTextEncode", text="{{prompt}}", clip=["2", 0]),
    "5": node("CLIPTextEncode", text="blurry, {{negative_prompt}}", clip=["2", 0]),
    "6": node("EmptyHunyuanLatentVideo", **SIZES),
    "7": node(
        "KSampler",
        model=["1", 0],
        seed="{{seed}}",
        steps=20,
        cfg=6.0,
        sampler_name="uni_pc",
        scheduler="simple",
        positive=["4", 0],
        negative=["5", 0],
        latent_image=["6", 0],
        denoise=1.0,
    ),
    "8": node("VAEDecode", samples=["7", 0], vae=["3", 0]),
    "9": node("CreateVideo", images=["8", 0], fps="{{fps}}"),
    "10": node("SaveVideo", video=["9", 0], filename_prefix="video/reelgate", format="auto", codec="auto"),
}
"""Wan, of text."""
_ENDS = {"positive": ["4", 0], "negative": ["5", 0], "vae": ["3", 0]}
IMAGE: dict[str, Any] = {
    **TEXT,
    "6": node("WanImageToVideo", **_ENDS, **SIZES, start_image=["11", 0]),
    "7": {**TEXT["7"], "inputs": {**TEXT["7"]["inputs"], "latent_image": ["6", 2]}},
    "11": node("LoadImage", image="{{image}}"),
}
"""The same of a picture."""
BOTH: dict[str, Any] = {
    **IMAGE,
    "6": node("WanFirstLastFrameToVideo", **_ENDS, **SIZES, start_image=["11", 0], end_image=["12", 0]),
    "12": node("LoadImage", image="{{last_frame}}"),
}
"""The same of the two pictures that it begins and ends with."""


@asynccontextmanager
async def opened(
    upstream: Recorder | Simulator, workflow: Any = TEXT, pictured: Any = IMAGE, **options: Any
) -> AsyncIterator[Comfyui]:
    """A channel whose upstream is `upstream`; a workflow that is text is a path."""
    words = [one if isinstance(one, str) else json.dumps(one) for one in (workflow, pictured or "")]
    given = {"base_url": upstream.base_url, "workflow": words[0], "image_workflow": words[1], **options}
    values = msgspec.convert(given, ComfyuiOptions)
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, redactor=Redactor([KEY]))
    channel = Comfyui(name="up", options=values, upstream=client, folder=Path("unused"))
    try:
        await channel.start()
        yield channel
        await channel.close()
    finally:
        await http.close()


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "wan", "seconds": 5, "size": "832x480", **changes})
