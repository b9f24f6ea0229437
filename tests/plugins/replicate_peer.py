"""Replicate's official SDK as a peer in a process of its own: one order in JSON a line in, one answer a line out.

Run by the tests, with the base URL and a token, by a Python that has replicate 1.0.7.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from pydantic.v1 import ValidationError
from replicate import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.prediction import Prediction


def told(prediction: Prediction) -> dict[str, Any]:
    """A prediction as the SDK has read it."""
    said = json.loads(prediction.json())
    said["progress"] = prediction.progress.percentage if prediction.progress else None
    return dict(said)


def create(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    """`files` are inputs that the SDK uploads, or sends as data URIs, out of files."""
    given = {**order["input"], **{name: Path(file) for name, file in order.get("files", {}).items()}}
    return told(client.predictions.create(**order["of"], input=given, **order.get("params", {})))


def reload(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    prediction = client.predictions.get(order["id"])
    prediction.reload()
    return told(prediction)


def cancel(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    prediction = client.predictions.get(order["id"])
    prediction.cancel()
    return told(prediction)


def run(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    """To the end, as most programs do it."""
    try:
        return {"output": client.run(order["of"], input=order["input"], wait=False, use_file_output=False)}
    except ModelError as error:
        return {"failed": str(error), "status": error.prediction.status}


def read(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    """A result, without a key."""
    answer = httpx.get(order["url"])
    digest = hashlib.sha256(answer.content).hexdigest()
    return {"status": answer.status_code, "type": answer.headers.get("content-type"), "sha256": digest}


def model(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    found = client.models.get(order["name"])
    assert found.latest_version is not None
    again = found.versions.get(found.latest_version.id)
    return {"id": again.id, "schema": found.latest_version.openapi_schema["components"]["schemas"]}


def listed(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    return {"ids": [prediction.id for prediction in client.predictions.list()]}


def upload(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    file = client.files.create(order["file"], metadata={"who": "tests"})
    assert client.files.get(file.id).checksums == file.checksums
    return {"url": file.urls["get"], "size": file.size, "gone": order["remove"] and client.files.delete(file.id)}


ORDERS: dict[str, Callable[[Client, dict[str, Any]], dict[str, Any]]] = {
    order.__name__: order for order in (create, reload, cancel, run, read, model, listed, upload)
}


def main() -> None:
    url, token = sys.argv[1:]
    client = Client(api_token=token, base_url=url)
    client.poll_interval = 0
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = ORDERS[order["do"]](client, order)
        except ReplicateError as error:
            said = {"refused": [error.status, error.title, error.detail]}
        except ValidationError as error:
            said = {"unreadable": [str(one["loc"][0]) for one in error.errors()]}
        except Exception as error:
            said = {"broken": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
