"""google-genai on Vertex as a peer in a process of its own: one order in JSON a line in, one answer a line out.

Run by test_vertex_simulator_sdk.py, with the base URL and a service account's key file, by a Python that has the SDK.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

from google import genai
from google.genai import errors, types
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def connect(base_url: str, key_file: str) -> genai.Client:
    credentials = service_account.Credentials.from_service_account_file(key_file, scopes=[SCOPE])
    return genai.Client(
        vertexai=True,
        project=credentials.project_id,
        location="us-central1",
        credentials=credentials,
        http_options=types.HttpOptions(base_url=base_url, api_version="v1"),
    )


def create(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    made = client.models.generate_videos(
        model=order["model"],
        source=types.GenerateVideosSource.model_validate_json(json.dumps(order["source"])),
        config=types.GenerateVideosConfig.model_validate_json(json.dumps(order["config"])),
    )
    return {"name": made.name, "done": made.done}


def fetch(client: genai.Client, order: dict[str, Any]) -> dict[str, Any]:
    found = client.operations.get(types.GenerateVideosOperation(name=order["name"]))
    said: dict[str, Any] = {"name": found.name, "done": found.done, "error": found.error}
    if found.response is not None:
        films = [one.video for one in found.response.generated_videos or []]
        said |= {
            "count": found.response.rai_media_filtered_count,
            "reasons": found.response.rai_media_filtered_reasons,
            "films": [[film.uri, film.video_bytes and digest(film.video_bytes), film.mime_type] for film in films],
        }
    return said


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    client = connect(*sys.argv[1:])
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = {"create": create, "fetch": fetch}[order["do"]](client, order)
        except errors.APIError as error:
            said = {"refused": [error.code, error.status, error.message]}
        except Exception as error:
            said = {"broken": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
