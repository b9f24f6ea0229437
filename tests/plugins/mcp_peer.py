"""A provider's MCP server as the client that it is, in a process of its own: one order in JSON a line in, one answer.

Run by the tests, with the name of the server's module, by a Python that has it; variables of its own name the host and
the key. `do` is a tool of the server, or `get`, a call of its client.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def carry_out(server: Any, do: str, order: dict[str, Any]) -> dict[str, Any]:
    if do == "get":
        client = server.api_client
        if key := order.pop("authorization", None):
            client.session.headers["Authorization"] = key
        return dict(client.get(order["path"]))
    said = getattr(server, do)(**order)
    return {"said": getattr(said, "text", said)}


def main(module: str) -> None:
    server = importlib.import_module(module)
    no_wait: Any = lambda seconds: None  # noqa: E731
    server.time.sleep = no_wait
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = carry_out(server, order.pop("do"), order)
        except Exception as error:
            said = {"raised": type(error).__name__, "message": str(error)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
