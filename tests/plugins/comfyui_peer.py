"""The client of comfy-cli, ComfyUI's own, in a process of its own: one order in JSON a line in, one answer out.

Run by the tests, with the server's address, by a Python that has it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from comfy_cli import execution_errors
from comfy_cli.comfy_client import Client, HTTPError
from comfy_cli.target import Target


def carry_out(client: Any, do: str, order: dict[str, Any]) -> dict[str, Any]:
    if do == "submit":
        made = client.submit_prompt(order["graph"], "reelgate-tests")
        return {"id": made.prompt_id, "number": made.number, "node_errors": made.node_errors}
    if do == "look":
        return {"record": client.get_history(order["id"])}
    record = client.wait_for_completion(order["id"], poll_interval=0.01)
    failures = [data for kind, data in record["status"]["messages"] if kind == "execution_error"]
    verdicts = [execution_errors.classify(data)["message"] for data in failures]
    return {"word": record["status"]["status_str"], "outputs": client.extract_outputs(record), "failures": verdicts}


def main(url: str) -> None:
    client = Client(Target(kind="local", base_url=url))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = carry_out(client, order.pop("do"), order)
        except HTTPError as error:
            said = {"refused": error.status, "body": json.loads(error.body)}
        except Exception as error:
            said = {"broken": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
