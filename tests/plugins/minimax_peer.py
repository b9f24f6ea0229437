"""What MiniMax's official client does with the simulator; run by an environment that has minimax-mcp 0.0.19: FOLDER.

`MINIMAX_API_HOST` and `MINIMAX_API_KEY` say where it calls.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import requests
from minimax_mcp import server
from minimax_mcp.exceptions import MinimaxAuthError, MinimaxRequestError


def check_lives(folder: Path) -> None:
    """Text and a picture come to a film, over polls that wait and the third call for the address."""
    wide: dict[str, Any] = {"model": "MiniMax-Hailuo-02", "duration": 10, "resolution": "768P"}
    for order in ({}, wide, {**wide, "first_frame_image": str(folder / "picture.jpg")}):
        said = server.generate_video(prompt="a paper boat", **order).text
        assert said.startswith("Success. Video URL: "), said
        film = requests.get(said.partition(": ")[2], timeout=60)
        assert (film.status_code, film.content[4:8]) == (200, b"ftyp")


def check_waiting() -> None:
    """A task that was only submitted is asked for by its id."""
    submitted = server.generate_video(prompt="a paper boat", async_mode=True).text
    task_id = submitted.partition("Task ID: ")[2].partition(".")[0]
    said = [server.query_video_generation(task_id).text for _ in range(3)]
    assert all("still processing" in text for text in said[:2]), said
    assert said[2].startswith("Success. Video URL: "), said


def check_ends() -> None:
    """A failure, refusals inside a 200 and a wrong key are what the client takes for one."""
    for code, words in (("1027", "API Error: 1027-"), ("0", "Video generation failed")):
        assert words in server.generate_video(prompt=f"FAIL {code}").text
    assert "API Error: 2013-" in server.generate_video(prompt="x", model="MiniMax-Hailuo-02", duration=7).text
    client = server.api_client
    for key, kind in (("sk-api-nobody", MinimaxAuthError), (client.api_key, MinimaxRequestError)):
        client.session.headers["Authorization"] = f"Bearer {key}"
        try:
            client.get("/v1/query/video_generation?task_id=1")
        except kind:
            continue
        raise AssertionError(f"{key} was answered")


def main(folder: str) -> None:
    no_wait: Any = lambda seconds: None  # noqa: E731
    server.time.sleep = no_wait
    check_lives(Path(folder))
    check_waiting()
    check_ends()


if __name__ == "__main__":
    main(*sys.argv[1:])
