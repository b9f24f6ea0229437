"""What Vidu's official client sends; run by an environment that has vidu-mcp: PICTURE (a data URI).

`VIDU_API_HOST` and `VIDU_API_KEY` say where it calls.
"""

from __future__ import annotations

import sys

from vidu_mcp import server


def main(picture: str) -> None:
    server.del_input_image = lambda image: image
    server.del_input_images = list
    server.query_video = lambda task_id: task_id
    prompt = "a red kite"
    made = [
        server.generate_text_to_video("vidu1.5", prompt, "anime", 4, 7, "9:16", "360p", "large", True),
        server.generate_img_to_video(picture, "vidu2.0", prompt, 8, 7, "720p", "small"),
        server.generate_startend2video_to_video([picture, picture], "viduq1", prompt, 5, 7),
        server.generate_reference2video_to_video([picture] * 3, prompt, "viduq1", 5, 7, "1:1", "1080p"),
    ]
    assert all(text.isdecimal() for text in made), made


if __name__ == "__main__":
    main(*sys.argv[1:])
