"""Small videos made for a test."""

from __future__ import annotations

from io import BytesIO

import av
from PIL import Image

COLOURS = ("red", "lime", "blue", "yellow", "white")


def clip(kind: str = "mp4", *, size: tuple[int, int] = (64, 48), frames: int = 30) -> bytes:
    """A video whose frames go through `COLOURS`, the first and the last colour at its ends."""
    file = BytesIO()
    codec = {"webm": "libvpx-vp9"}.get(kind, "libx264")
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            image = Image.new("RGB", size, COLOURS[number * len(COLOURS) // frames])
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return file.getvalue()


def sound() -> bytes:
    """An MP4 that has sound and no picture."""
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 44_100
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
