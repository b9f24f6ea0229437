"""The video that every simulator serves."""

from __future__ import annotations

import functools
import hashlib
import io
import struct

SIZE = 256 * 1024
"""Bytes of the sample: enough for a transfer to be cut in its middle."""


def box(kind: bytes, payload: bytes) -> bytes:
    """One box of an MP4 file (ISO/IEC 14496-12, 4.2)."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


@functools.cache
def sample_video() -> bytes:
    """A small MP4 of `SIZE` bytes: with PyAV a real one of two seconds, else the boxes of one without a picture."""
    video = _rendered() or _hollow()
    # Noise, so that no two ranges of the filling are alike; players skip a `free` box.
    return video + box(b"free", hashlib.shake_128(video).digest(SIZE - len(video) - 8))


def _rendered() -> bytes | None:
    try:
        import av
    except ImportError:
        return None
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(24):
            frame = av.VideoFrame(160, 96, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes((64 + 4 * number + i % 61) % 256 for i in range(plane.buffer_size)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _hollow() -> bytes:
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    header = (
        struct.pack(">IIIIIIHH8x", 0, 0, 0, 1000, 2000, 0x10000, 0x100, 0) + matrix + bytes(24) + struct.pack(">I", 2)
    )
    return box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + box(b"moov", box(b"mvhd", header)) + box(b"mdat", bytes(4096))
