"""What the tests of the ComfyUI simulator stand on: a workflow, and the calls of a client."""

from __future__ import annotations

import copy
from typing import Any

import aiohttp

GRAPH: dict[str, Any] = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan.safetensors", "weight_dtype": "default"}},
    "2": {"class_type": "CLIPLoader", "inputs": {"clip_name": "umt5.safetensors", "type": "wan"}},
    "3": {"class_type": "VAELoader", "inputs": {"vae_name": "wan_vae.safetensors"}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a paper boat", "clip": ["2", 0]}},
    "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["2", 0]}},
    "6": {
        "class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 832, "height": 480, "length": 81, "batch_size": 1},
    },
    "7": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "positive": ["4", 0],
            "negative": ["5", 0],
            "latent_image": ["6", 0],
            "seed": 7,
            "steps": 20,
            "cfg": 6.0,
            "denoise": 1,
            "sampler_name": "uni_pc",
            "scheduler": "simple",
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["3", 0]}},
    "9": {"class_type": "CreateVideo", "inputs": {"images": ["8", 0], "fps": 16}},
    "10": {
        "class_type": "SaveVideo",
        "inputs": {"video": ["9", 0], "filename_prefix": "video/ComfyUI", "format": "mp4", "codec": "h264"},
    },
}
FILM = {"filename": "ComfyUI_00001_.mp4", "subfolder": "video", "type": "output"}
COMBINE = {"images": ["8", 0], "frame_rate": 16, "loop_count": 0, "filename_prefix": "boat", "pingpong": False}


def graph(node: str = "", inputs: dict[str, Any] | None = None, **nodes: Any) -> dict[str, Any]:
    """The graph with some inputs of a node changed (None: left out), and further or other nodes."""
    changed = {**copy.deepcopy(GRAPH), **{name.removeprefix("n"): made for name, made in nodes.items()}}
    for name, value in (inputs or {}).items():
        changed[node]["inputs"][name] = value
        if value is None:
            del changed[node]["inputs"][name]
    return {name: made for name, made in changed.items() if made is not None}


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def made(http: aiohttp.ClientSession, prompt: Any = None, **fields: Any) -> str:
    status, data = await call(http, "POST", "/prompt", json={"prompt": prompt or GRAPH, **fields})
    assert (status, data["node_errors"]) == (200, {}), data
    return str(data["prompt_id"])


async def seen(http: aiohttp.ClientSession, job_id: str) -> str:
    """Where a job is: one poll of history and queue."""
    _, history = await call(http, "GET", f"/history/{job_id}")
    _, queue = await call(http, "GET", "/queue")
    if history:
        return str(history[job_id]["status"]["status_str"])
    places = {"queue_running": "running", "queue_pending": "pending"}
    return next((word for name, word in places.items() if job_id in [item[1] for item in queue[name]]), "nowhere")


async def ended(http: aiohttp.ClientSession, job_id: str) -> Any:
    _, history = await call(http, "GET", f"/history/{job_id}")
    return history[job_id]


async def upload(http: aiohttp.ClientSession, data: bytes, name: str = "x.png", **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData(fields)
    form.add_field("image", data, filename=name, content_type="image/png")
    return await call(http, "POST", "/upload/image", data=form)
