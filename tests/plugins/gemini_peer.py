"""google-genai on the Gemini Developer API as a peer in a process of its own: one order in JSON a line in, one answer a
line out.

Run by test_gemini_simulator_sdk.py, with the base URL and a key, by a Python that has the SDK: 3.x for interactions,
2.34.0 for Veo, which later ones refuse here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from google import genai
from google.genai import errors, types
from pydantic import BaseModel


def connect(base_url: str, key: str) -> genai.Client:
    # One attempt, so that a refusal is told as it came.
    retries = types.HttpRetryOptions(attempts=1)
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, retry_options=retries))


# ---------------------------------------------------------------- interactions


def interact(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    return interaction(client.interactions.create(**order["body"]))


def look(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    return interaction(client.interactions.get(order["id"]))


def cancel(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    return interaction(client.interactions.cancel(order["id"]))


def delete(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    client.interactions.delete(order["id"])
    return {}


def interaction(found: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": found.id,
        "status": found.status,
        "errors": [[error.code, error.message] for error in found.errors or []],
        "faults": [[step.error.code, step.error.message] for step in found.steps if getattr(step, "error", None)],
    }
    if (film := found.output_video) is not None:
        said["film"] = [film.uri, film.data and digest(base64.b64decode(str(film.data))), film.mime_type]
    return said


def typed(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    """What the types of the SDK have against an order (`body`) or an answer (`answer`), which it reads leniently."""
    from google.genai import interactions

    kinds = {"body": interactions.CreateModelInteraction, "answer": interactions.Interaction}
    wrong = {}
    for name in kinds.keys() & order.keys():
        made = kinds[name].model_validate_json(json.dumps(order[name]))
        again = made.model_dump(mode="json", exclude_none=True)
        wrong[name] = sorted(strange(made)) + sorted(lost(order[name], again))
    return wrong


def strange(made: Any, at: str = "") -> Iterator[str]:
    """Where the SDK has no type for a value, or no name for a field."""
    if getattr(made, "is_unknown", False):
        yield at
    if isinstance(made, BaseModel):
        yield from (f"{at}.{name}" for name in made.model_extra or ())
        for name, value in made:
            yield from strange(value, f"{at}.{name}")
    elif isinstance(made, list):
        for number, value in enumerate(made):
            yield from strange(value, f"{at}[{number}]")


def lost(given: Any, kept: Any, at: str = "") -> Iterator[str]:
    """Which fields the SDK's types let fall."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            if name in kept:
                yield from lost(value, kept[name], f"{at}.{name}")
            else:
                yield f"{at}.{name}"
    elif isinstance(given, list) and isinstance(kept, list):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{at}[{number}]")


# ---------------------------------------------------------------- files


def file(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    found = client.files.get(name=order["name"])
    return {"state": found.state.value, "size": found.size_bytes, "type": found.mime_type, "source": found.source.value}


def download(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    return {"film": digest(client.files.download(file=types.Video(uri=order["uri"])))}


def remove(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    client.files.delete(name=order["name"])
    return {}


# ---------------------------------------------------------------- Veo


def predict(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    made = client.models.generate_videos(
        model=order["model"],
        source=types.GenerateVideosSource.model_validate_json(json.dumps(order["source"])),
        config=types.GenerateVideosConfig.model_validate_json(json.dumps(order["config"])),
    )
    return {"name": made.name, "done": made.done}


def operation(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    found = client.operations.get(types.GenerateVideosOperation(name=order["name"]))
    said: dict[str, Any] = {"name": found.name, "done": found.done, "error": found.error}
    if found.response is not None:
        said |= {
            "count": found.response.rai_media_filtered_count,
            "reasons": found.response.rai_media_filtered_reasons,
            "films": [one.video.uri for one in found.response.generated_videos or []],
        }
    return said


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


WAYS: dict[str, Callable[[genai.Client, dict[str, Any]], dict[str, Any]]] = {
    way.__name__: way for way in (interact, look, cancel, delete, typed, file, download, remove, predict, operation)
}


def main() -> None:
    client = connect(*sys.argv[1:])
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = WAYS[order["do"]](client, order)
        except errors.APIError as error:
            said = {"refused": [error.code, error.status, error.message]}
        except Exception as error:
            # Interactions have a tree of errors of their own.
            told = getattr(error, "body", None)
            about = told.get("error") if isinstance(told, dict) else None
            said = {"broken": f"{type(error).__name__}: {error}"}
            if isinstance(about, dict):
                said = {"refused": [getattr(error, "status_code", None), about.get("status"), about.get("message")]}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
