"""The main job as a client does it with the official Python SDK; run by whichever SDK is to be proved.

usage: life.py BASE_URL KEY FOLDER
"""

import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore", DeprecationWarning)

import openai  # noqa: E402
from openai import OpenAI  # noqa: E402
from openai.types import Video  # noqa: E402

SMALL = {"size": "128x72", "seconds": "1"}


def raises(status: int, code: str, call: object, *args: object, **kwargs: object) -> None:
    try:
        call(*args, **kwargs)  # type: ignore[operator]
    except openai.APIStatusError as error:
        assert (error.status_code, error.code) == (status, code), (error.status_code, error.code, error.message)
        assert error.request_id, error.message
    else:
        raise AssertionError(f"expected {status} {code}")


def main(base_url: str, key: str, folder: Path) -> None:
    client = OpenAI(base_url=base_url, api_key=key)

    # create_and_poll, retrieve, download
    video = client.videos.create_and_poll(
        model="sora-2", prompt="a paper plane “über” 窗\nline two", **SMALL, poll_interval_ms=50
    )
    assert video.status == "completed", video
    assert video.progress == 100
    assert (video.size, video.seconds, video.model) == ("128x72", "1", "sora-2")
    assert video.prompt == "a paper plane “über” 窗\nline two"
    assert client.videos.retrieve(video.id) == video
    client.videos.download_content(video.id).write_to_file(folder / "plane.mp4")
    data = (folder / "plane.mp4").read_bytes()
    assert data[4:8] == b"ftyp", data[:16]
    part = client.videos.download_content(video.id, extra_headers={"Range": "bytes=0-99"})
    assert part.read() == data[:100]
    assert client.videos.download_content(video.id, variant="thumbnail").read()[8:12] == b"WEBP"

    # an input picture
    picture = folder / "picture.png"
    with picture.open("rb") as file:
        with_image = client.videos.create(prompt="from a picture", input_reference=file, model="demo", **SMALL)
    assert client.videos.poll(with_image.id, poll_interval_ms=50).status == "completed"
    raw = client.videos.create(prompt="from bytes", input_reference=picture.read_bytes(), model="demo", **SMALL)
    assert client.videos.poll(raw.id, poll_interval_ms=50).status == "completed"

    # remix, edit, extend
    remix = client.videos.remix(video.id, prompt="the same at night")
    assert remix.remixed_from_video_id == video.id
    assert remix.status in ("queued", "in_progress")
    assert client.videos.poll(remix.id, poll_interval_ms=50).status == "completed"
    with (folder / "plane.mp4").open("rb") as clip:
        edit = client.videos.edit(prompt="in blue", video=clip)
    assert client.videos.poll(edit.id, poll_interval_ms=50).status == "completed"
    # The Python SDK takes files only where the wire has {"id": …}; curl, LiteLLM and the Node SDK send that.
    by_id = {"prompt": "and on", "seconds": "1", "video": {"id": video.id}}
    longer = client.post("/videos/extensions", body=by_id, cast_to=Video)
    assert longer.seconds == "2", longer
    with (folder / "plane.mp4").open("rb") as clip:
        character = client.videos.create_character(name="Moss", video=clip)
    assert client.videos.get_character(character.id).name == "Moss"

    # list: three pages, each id once
    for number in range(3):
        client.videos.create(prompt=f"number {number}", **SMALL)
    ids = [found.id for found in client.videos.list(limit=3)]
    assert len(ids) == len(set(ids)) == 9, ids
    assert list(reversed(ids)) == [found.id for found in client.videos.list(limit=3, order="asc")]

    # errors
    quick = client.with_options(max_retries=0)
    raises(404, "video_not_found", quick.videos.retrieve, "video_unknown")
    raises(404, "video_not_found", quick.videos.retrieve, "a/b")
    raises(404, "model_not_found", quick.videos.create, prompt="x", model="no-such-model")
    raises(400, "invalid_value", quick.videos.create, prompt="x", seconds="99")
    raises(400, "invalid_value", quick.videos.create, prompt="x", size="7x")
    raises(429, "rate_limit_exceeded", quick.videos.create, prompt="x [429]", **SMALL)
    raises(401, "invalid_api_key", OpenAI(base_url=base_url, api_key="wrong").videos.retrieve, video.id)
    blocked = client.videos.create_and_poll(prompt="x [moderate]", **SMALL, poll_interval_ms=50)
    assert blocked.status == "failed"
    assert blocked.error is not None
    assert blocked.error.code == "moderation_blocked"

    # models, delete
    assert {"sora-2", "sora-2-pro", "demo"} <= {model.id for model in client.models.list()}
    gone = client.videos.delete(video.id)
    assert (gone.id, gone.object, gone.deleted) == (video.id, "video.deleted", True)
    raises(404, "video_not_found", quick.videos.retrieve, video.id)
    raises(404, "video_not_found", quick.videos.download_content, video.id)
    print(f"openai {openai.__version__}: all of it works")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
