"""The official SDK of Ark, or that of ModelArk, in a process of its own: one order in JSON a line in, one answer out.

Run by the tests, with the name of the SDK's module, the base URL and a key, by a Python that has it.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

NAMES = ("id", "model", "status", "duration", "frames", "framespersecond", "seed", "ratio", "resolution", "created_at")


def told(task: Any) -> dict[str, Any]:
    """A task as the SDK has read it."""
    content, error, usage = (getattr(task, name, None) for name in ("content", "error", "usage"))
    return {
        **{name: getattr(task, name, None) for name in NAMES},
        "video_url": content and content.video_url,
        "error": error and [error.code, error.message],
        "tokens": usage and usage.total_tokens,
    }


def carry_out(tasks: Any, do: str, order: dict[str, Any]) -> dict[str, Any]:
    if do == "create":
        return {"id": tasks.create(**order).id}
    if do == "get":
        return told(tasks.get(**order))
    if do == "list":
        page = tasks.list(**order)
        return {"total": page.total, "items": [told(task) for task in page.items]}
    tasks.delete(**order)
    return {}


def main(module: str, url: str, key: str) -> None:
    runtime = importlib.import_module(module)
    errors = importlib.import_module(f"{module}._exceptions")
    tasks = runtime.Ark(base_url=url, api_key=key, max_retries=0).content_generation.tasks
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = carry_out(tasks, order.pop("do"), order)
        except errors.ArkAPIStatusError as error:
            said = {"refused": [type(error).__name__, error.status_code, error.code, error.param]}
        except Exception as error:
            said = {"broken": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
