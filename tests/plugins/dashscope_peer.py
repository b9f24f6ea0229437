"""DashScope's official SDK in a process of its own: one order in JSON a line in, one answer out.

Run by the tests, with the base URL and a key, by a Python that has it. `do` is a method of its VideoSynthesis.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import dashscope
from dashscope import VideoSynthesis


def carry_out(do: str, order: dict[str, Any]) -> dict[str, Any]:
    answer = getattr(VideoSynthesis, do)(**order)
    return {name: getattr(answer, name) for name in ("status_code", "code", "message", "output", "usage")}


def main(url: str, key: str) -> None:
    dashscope.base_http_api_url = f"{url}/api/v1"
    dashscope.api_key = key
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = carry_out(order.pop("do"), order)
        except Exception as error:
            said = {"broken": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
