"""What a clip that is sent in is looked at for: its size and its length, whatever its maker would like them to be."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO

import av
import pytest
from PIL import Image

from tests.media.test_stills import SIZE, VIDEO, here, ramp


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("mov", "libx264"), ("webm", "libvpx-vp9")])
@pytest.mark.parametrize("frames", [1, 7, 40])
def test_the_length_is_that_of_the_frames(kind: str, codec: str, frames: int) -> None:
    """Every container says when its last frame ends, also where frames depend on later ones."""
    seconds = float(here("look", ramp(frames, kind=kind, codec=codec)).split()[2])
    # Matroska does not say how long its last frame is shown.
    assert seconds == pytest.approx(frames / 10, abs=0.1 if kind == "webm" else 0.001)


def test_a_header_cannot_shorten_a_video() -> None:
    """Who pays by the second gains nothing by writing a smaller number: the frames are counted."""
    forged = bytearray(VIDEO)
    for box, at in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        start = forged.index(box) + at
        forged[start : start + 4] = (1).to_bytes(4, "big")
    assert bytes(forged) != VIDEO
    assert here("look", bytes(forged)).endswith(b" 4.000")


def made(*tracks: tuple[tuple[int, int], list[int]], kind: str = "mp4") -> bytes:
    """A video with one track for each size, its frames at these milliseconds."""
    file = BytesIO()
    with av.open(file, "w", format=kind) as container:
        streams = [container.add_stream("libx264", rate=25) for _ in tracks]
        for stream, (size, _) in zip(streams, tracks, strict=True):
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
        for stream, (size, times) in zip(streams, tracks, strict=True):
            for at in times:
                frame = av.VideoFrame.from_image(Image.new("RGB", size))
                frame.pts, frame.time_base = at, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return file.getvalue()


def forged(box: bytes, at: int, value: int, video: bytes = VIDEO) -> bytes:
    """`video` with another number in a box."""
    start = video.index(box) + at
    return video[:start] + value.to_bytes(4, "big") + video[start + 4 :]


@pytest.mark.parametrize(
    ("video", "least"),
    [
        (made(((64, 48), [0, 40]), (SIZE, [0, 9000])), 9),
        (made((SIZE, [0, 40]), ((64, 48), [0, 9000])), 9),
        (made((SIZE, [0, 9000]), kind="matroska"), 9),
        (forged(b"elst", 12, 100, ramp(gop=5)), 4),
        # The first frame behind all others.
        (forged(b"ctts", 16, 2**20), 4),
        # Forty frames in no time.
        (forged(b"mdhd", 16, 2**31 - 1), 40 / 240),
    ],
    ids=["long second track", "small second track", "decoder's delay", "edit list", "order", "timescale"],
)
def test_nothing_in_a_file_hides_frames(video: bytes, least: float) -> None:
    """What one who is sent the file may make of it is what counts: the longest of its tracks, all that its edit list
    leaves out, and frames that no eye could follow; the largest track is the size."""
    width, height, seconds = here("look", video).split()
    assert (int(width), int(height)) == SIZE
    assert float(seconds) >= round(least, 3)
