"""Programs to copy: a first video with the API, in three languages."""

from __future__ import annotations

import json
import shlex
from typing import Final

PROMPT: Final = "A paper plane glides over a quiet sea at sunrise"


def first_video(base: str, key: str, model: str) -> list[tuple[str, str]]:
    """What each is called, and its text. `base` is the server's address, without `/v1`; nothing of what is given can
    end its quotes."""
    url, key_, model_, prompt = (json.dumps(text) for text in (f"{base.rstrip('/')}/v1", key, model, PROMPT))
    order = json.dumps({"model": model, "prompt": PROMPT})
    curl = (
        f"curl {shlex.quote(base.rstrip('/') + '/v1/videos')} \\\n"
        f"  -H {shlex.quote(f'Authorization: Bearer {key}')} \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(order)}"
    )
    python = (
        "# pip install openai\n"
        "from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={url}, api_key={key_})\n"
        f"video = client.videos.create_and_poll(model={model_}, prompt={prompt})\n"
        'client.videos.download_content(video.id).write_to_file("video.mp4")'
    )
    node = (
        "// npm install openai\n"
        'import { writeFile } from "node:fs/promises";\n'
        'import OpenAI from "openai";\n\n'
        f"const client = new OpenAI({{ baseURL: {url}, apiKey: {key_} }});\n"
        f"let video = await client.videos.create({{ model: {model_}, prompt: {prompt} }});\n"
        'while (video.status === "queued" || video.status === "in_progress") {\n'
        "  await new Promise((resolve) => setTimeout(resolve, 2000));\n"
        "  video = await client.videos.retrieve(video.id);\n"
        "}\n"
        "const content = await client.videos.downloadContent(video.id);\n"
        'await writeFile("video.mp4", Buffer.from(await content.arrayBuffer()));'
    )
    return [("curl", curl), ("Python", python), ("Node", node)]


def unwrap_event(secret: str) -> str:
    """How a receiver in Python checks an event that was signed with `secret`."""
    return (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(api_key="-", webhook_secret={json.dumps(secret)})\n'
        "event = client.webhooks.unwrap(body, headers)\n"
        "print(event.type, event.data.id)"
    )
