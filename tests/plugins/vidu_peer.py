"""What Vidu's official client does with the simulator; run by an environment that has vidu-mcp: FOLDER.

`VIDU_API_HOST` and `VIDU_API_KEY` say where it calls.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import requests
from vidu_mcp import server
from vidu_mcp.client import ViduAPIClient
from vidu_mcp.exceptions import ViduRequestError


def check_lives(folder: Path) -> None:
    """Each tool that the client has for a route comes to a film, by its own defaults and by those of old models."""
    still = str(folder / "picture.jpg")
    made: list[str] = [
        server.generate_text_to_video(prompt="a paper boat"),
        server.generate_text_to_video("vidu1.5", "a paper boat", "anime", 4, 7, "9:16", "360p", "large", True),
        server.generate_img_to_video(still),
        server.generate_img_to_video(still, "vidu2.0", "it sails", 8, resolution="720p"),
        server.generate_startend2video_to_video([still, still], "viduq1-classic"),
        server.generate_reference2video_to_video([still, still, still], "a paper boat"),
    ]
    for text in made:
        told = json.loads(text)
        assert told["status"] == "success", text
        film = requests.get(told["video_url"], timeout=60)
        assert film.headers["content-type"] == "video/mp4"
        assert film.content[4:8] == b"ftyp"


def check_ends(client: ViduAPIClient) -> None:
    """A failure, a refusal and a wrong key are what the client takes for one."""
    assert "Video generation failed" in server.generate_text_to_video(prompt="FAIL CreationPolicyViolation")
    assert "400" in server.generate_text_to_video(prompt="x", resolution="720p")
    calls: list[tuple[ViduAPIClient, str]] = [
        (ViduAPIClient("vda_nobody", client.api_host), "/ent/v2/tasks/1/creations"),
        (client, "/ent/v2/tasks/1/creations"),
    ]
    for asking, path in calls:
        try:
            asking.get(path)
        except ViduRequestError:
            continue
        raise AssertionError(f"{path} was answered")


def main(folder: str) -> None:
    no_wait: Any = lambda seconds: None  # noqa: E731
    server.time.sleep = no_wait
    check_lives(Path(folder))
    check_ends(server.api_client)


if __name__ == "__main__":
    main(*sys.argv[1:])
