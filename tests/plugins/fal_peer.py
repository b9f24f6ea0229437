"""fal-client as a peer in a process of its own: one order in JSON a line in, one answer a line out.

Run by test_fal_simulator_sdk.py, with the base URL and a key, by a Python that has the client.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import fal_client
from fal_client import client as module

Handle = fal_client.SyncRequestHandle


class Peer:
    """One client, and the handles that it got, by request id."""

    def __init__(self, base_url: str, key: str) -> None:
        # The client knows the scheme https alone, and reads these when it makes an address.
        module.QUEUE_URL_FORMAT = f"{base_url}/"
        module.REST_URL = base_url
        # Otherwise it repeats a 429 for minutes.
        module.MAX_ATTEMPTS = 1
        self.client = fal_client.SyncClient(key=key)
        self.handles: dict[str, Handle] = {}

    def handle(self, order: dict[str, Any]) -> Handle:
        """The handle of a submission, or the one that the client makes of the endpoint where `endpoint` is given."""
        if "endpoint" in order:
            return self.client.get_handle(order["endpoint"], order["id"])
        return self.handles[order["id"]]

    def submit(self, order: dict[str, Any]) -> dict[str, Any]:
        made = self.client.submit(order["endpoint"], order["arguments"], **order.get("more", {}))
        self.handles[made.request_id] = made
        return {"id": made.request_id, "urls": [made.response_url, made.status_url, made.cancel_url]}

    def urls(self, order: dict[str, Any]) -> dict[str, Any]:
        made = self.handle(order)
        return {"urls": [made.response_url, made.status_url, made.cancel_url]}

    def status(self, order: dict[str, Any]) -> dict[str, Any]:
        found = self.handle(order).status(with_logs=order.get("logs", False))
        return {"kind": type(found).__name__, **asdict(found)}

    def result(self, order: dict[str, Any]) -> dict[str, Any]:
        return {"result": self.handle(order).get(interval=0)}

    def cancel(self, order: dict[str, Any]) -> dict[str, Any]:
        self.handle(order).cancel()
        return {}

    def subscribe(self, order: dict[str, Any]) -> dict[str, Any]:
        seen: list[str] = []
        result = self.client.subscribe(
            order["endpoint"],
            order["arguments"],
            with_logs=True,
            interval=0,
            on_queue_update=lambda status: seen.append(type(status).__name__),
        )
        return {"result": result, "seen": list(dict.fromkeys(seen))}

    def upload(self, order: dict[str, Any]) -> dict[str, Any]:
        url = self.client.upload(
            order["text"].encode(),
            order["type"],
            order["name"],
            repository="fal",
            fallback_repository=[],
            lifecycle=fal_client.StorageSettings(expires_in="1d"),
        )
        return {"url": url}


def main() -> None:
    peer = Peer(*sys.argv[1:])
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = getattr(peer, order["do"])(order)
        except fal_client.FalClientHTTPError as error:
            said = {"refused": [error.status_code, error.error_type, error.message]}
        except Exception as error:
            said = {"broken": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
