"""What DashScope's official SDK does; run by an environment that has it: `life URL KEY FOLDER` is a life before the
simulator, `orders URL KEY JSON` sends each of a list of orders, its keyword arguments."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dashscope
from dashscope import VideoSynthesis

CLIP = {"model": "wan2.6-t2v", "prompt": "a paper boat", "size": "1280*720", "duration": 5, "seed": 7}


def made(**changes: Any) -> Any:
    answer = VideoSynthesis.async_call(**{**CLIP, **changes})
    assert answer.status_code == HTTPStatus.OK, answer
    assert answer.output.task_status == "PENDING"
    return answer


def states(task: Any) -> list[str]:
    return [VideoSynthesis.fetch(task).output.task_status for _ in range(3)]


def check_life(folder: Path) -> None:
    """Tasks of both routes and all shapes of input come to their end; the film is public."""
    picture = f"file://{folder / 'picture.png'}"
    for order in (
        {},
        {"model": "wan2.6-i2v", "size": None, "resolution": "720P", "img_url": picture},
        {
            "model": "wan2.2-kf2v-flash",
            "size": None,
            "resolution": "720P",
            "first_frame_url": picture,
            "last_frame_url": picture,
        },
        {
            "model": "wan2.7-i2v",
            "size": None,
            "resolution": "720P",
            "media": [{"type": "first_frame", "url": picture}],
        },
    ):
        task = made(**order)
        assert states(task) == ["PENDING", "RUNNING", "SUCCEEDED"], order
        done = VideoSynthesis.wait(task)
        assert (done.status_code, done.usage.video_count) == (HTTPStatus.OK, 1)
        with urlopen(done.output.video_url) as film:
            assert film.read()[4:8] == b"ftyp"
    edit = {"model": "wan2.7-videoedit", "size": None, "duration": None, "resolution": "720P"}
    states(made(**edit, media=[{"type": "video", "url": done.output.video_url}]))


def check_ends() -> None:
    """Failed tasks, unknown ones and those that were cancelled are read; a list has them."""
    failed = VideoSynthesis.wait(made(prompt="FAIL DataInspectionFailed"))
    assert failed.output.task_status == "FAILED"
    assert failed.output["code"] == "DataInspectionFailed"
    unknown = VideoSynthesis.fetch("00000000-0000-4000-8000-000000000000")
    assert unknown.output.task_status == "UNKNOWN"
    task = made()
    assert VideoSynthesis.cancel(task).status_code == HTTPStatus.OK
    assert VideoSynthesis.fetch(task).output.task_status == "CANCELED"
    assert VideoSynthesis.cancel(task).status_code != HTTPStatus.OK
    listed = VideoSynthesis.list(page_size=2)
    assert listed.status_code == HTTPStatus.OK


def check_refusals() -> None:
    """A wrong key and a wrong body come with a code."""
    for changes, status in (({"size": "1280x720"}, 400), ({"duration": 7}, 400), ({"api_key": "sk-nobody"}, 401)):
        answer = VideoSynthesis.async_call(**{**CLIP, **changes})
        assert (answer.status_code, bool(answer.code), bool(answer.message)) == (status, True, True), answer


def main(what: str, url: str, key: str, more: str) -> None:
    dashscope.base_http_api_url = f"{url}/api/v1"
    dashscope.api_key = key
    if what == "life":
        check_life(Path(more))
        check_ends()
        check_refusals()
    else:
        for order in json.loads(more):
            assert VideoSynthesis.async_call(**order).status_code == HTTPStatus.OK


if __name__ == "__main__":
    main(*sys.argv[1:])
