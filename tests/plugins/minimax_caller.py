"""What MiniMax's official client sends; run by an environment that has minimax-mcp: PICTURE.

`MINIMAX_API_HOST` and `MINIMAX_API_KEY` say where it calls. It knows V1 only.
"""

from __future__ import annotations

import sys

from minimax_mcp import server


def main(picture: str) -> None:
    texts = [
        server.generate_video("MiniMax-Hailuo-02", "a red kite", duration=10, resolution="768P", async_mode=True),
        server.generate_video("MiniMax-Hailuo-02", "a red kite", picture, 6, "1080P", async_mode=True),
        server.generate_video("T2V-01", "a red kite", async_mode=True),
        server.query_video_generation("106916112212032"),
    ]
    assert [text.text.partition(".")[0] for text in texts] == ["Success"] * 4, texts


if __name__ == "__main__":
    main(*sys.argv[1:])
