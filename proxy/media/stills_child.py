"""The process that decodes one video for `stills.py`, so that a hostile one can bring down nothing but this.

It is run by its path: `stills_child.py WORK`, where WORK is a key of `WORKS`, or `LOOK`. The video is the file at
descriptor 0, the result goes to 1, one line about a failure to 2. Exit codes: 0, 1 for a video that cannot be decoded,
`NO_PYAV`.

It must start fast and hold no secret: it imports the standard library, PyAV and Pillow, and nothing of `proxy`.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from PIL import Image

NO_PYAV: Final = 4
RESULT_BYTES: Final = 32 * 2**20

_MEMORY: Final = 1536 * 2**20
_CPU_SECONDS: Final = 60
_CPU_SECONDS_OF_A_LOOK: Final = 10
"""For a look alone, because many clips may be sent in: enough for about a million frames."""
# Then it ends by itself: the server that would have killed it earlier may be gone.
_WALL_SECONDS: Final = 120

_FASTEST: Final = 240
"""Frames of a second that a camera makes at most: more are there to be counted as less."""

_EBML: Final = b"\x1a\x45\xdf\xa3"
# What cameras, screen recorders and upstreams make: each further decoder is one more that a hostile file can aim at.
_DECODERS: Final = "h264,hevc,av1,libdav1d,vp8,vp9,mpeg4,mjpeg,prores"
# A frame of 8K video has 33 to 36 million pixels. Containers open decoders too, to look ahead.
_OPTIONS: Final = {"max_pixels": "36000000", "codec_whitelist": _DECODERS}

_THUMBNAIL_SIDE: Final = 720
_TILE_SIDE: Final = 192
_TILES: Final = 20
_COLUMNS: Final = 5


def limit(work: str) -> None:
    """Bound what this process can take: memory, processor, output, time. What else runs comes before it."""
    os.nice(5)
    signal.alarm(_WALL_SECONDS)
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_SECONDS_OF_A_LOOK if work == LOOK else _CPU_SECONDS),
        (resource.RLIMIT_FSIZE, RESULT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        # macOS knows some of them by name only.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


class _Input:
    """The file at descriptor 0, at a position of our own: the descriptor's is shared with whoever has it too."""

    def __init__(self) -> None:
        self._at = 0

    def read(self, count: int) -> bytes:
        data = os.pread(0, count, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(0).st_size}.get(whence, 0)
        return self._at

    def tell(self) -> int:
        return self._at


class Film:
    """The frames of one video stream; a ValueError where there is none."""

    def __init__(self, av: Any, container: Any) -> None:
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise ValueError("no video stream")
        stream = self._stream = streams[0]
        self._streams = streams
        # More threads hold more frames, and take the server's processors.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = _OPTIONS
        self._container = container
        self._frames = container.decode(stream)
        self._shown: Any = None
        self._upcoming: Any = None
        self._start: int = stream.start_time or 0
        self._length: int = max(0, stream.duration or 0)
        if not self._length and container.duration:
            self._length = max(0, int(Fraction(container.duration, av.time_base) / stream.time_base))

    def first(self) -> Any:
        """The first frame."""
        return _checked(next(self._frames, None))

    def last(self) -> Any:
        """The last frame; nothing before the last key frame is decoded."""
        self._container.seek(self._start + self._length, stream=self._stream)
        return _checked(next(iter(deque(self._frames, maxlen=1)), None))

    def measured(self) -> tuple[Any, Fraction]:
        """The first frame of the largest track, and the seconds of the longest one: who it is sent to may take either.

        They are those of the frames that are there, since what a header says costs nothing to write.
        """
        largest = max(self._streams, key=lambda one: one.codec_context.width * one.codec_context.height)
        largest.codec_context.thread_count = 1
        largest.codec_context.options = _OPTIONS
        frame: Any = None
        spans: dict[int, tuple[int, int, int]] = {}
        for packet in self._container.demux(self._streams):
            # The decoder may want many packets before it gives a frame, and an empty one says that these are all.
            if frame is None and packet.stream is largest:
                frame = next(iter(packet.decode()), None)
            at = packet.dts if packet.pts is None else packet.pts
            if at is not None:
                start, end, count = spans.get(packet.stream.index, (at, at, 0))
                spans[packet.stream.index] = (min(start, at), max(end, at + (packet.duration or 0)), count + 1)
            elif packet.size:
                raise ValueError("a frame without a time")
        lengths = [
            max(Fraction(end - start) * Fraction(self._container.streams[index].time_base), Fraction(count, _FASTEST))
            for index, (start, end, count) in spans.items()
        ]
        return _checked(frame), max(lengths)

    def at(self, share: float) -> Any:
        """The frame that is shown when `share` (0 to 1, never less than before) of the video is over."""
        wanted = self._start + round(share * self._length)
        self._jump(wanted)
        while True:
            if self._upcoming is None:
                self._upcoming = next(self._frames, None)
            if self._upcoming is None or (self._shown is not None and (self._upcoming.pts or 0) > wanted):
                return _checked(self._shown)
            self._shown, self._upcoming = self._upcoming, None

    def _jump(self, wanted: int) -> None:
        # Only forward: what lies between the key frame and here was decoded already.
        index = self._stream.index_entries
        key = index.search_timestamp(wanted)
        here = self._start if self._shown is None else self._shown.pts or 0
        if key >= 0 and index[key].timestamp > here:
            self._container.seek(wanted, stream=self._stream)


def _checked(frame: Any) -> Any:
    if frame is None:
        raise ValueError("no frame")
    return frame


def _within(frame: Any, side: int) -> tuple[int, int]:
    """Width and height of `frame`, made smaller so that the longer is `side` at most."""
    shrink = min(1.0, side / max(frame.width, frame.height))
    return max(1, round(frame.width * shrink)), max(1, round(frame.height * shrink))


def _picture(frame: Any, size: tuple[int, int] | None = None) -> Image.Image:
    """`frame` upright, at `size` (as it is stored, before it is turned)."""
    from PIL import Image

    scaled = {} if size is None else {"width": size[0], "height": size[1], "interpolation": "AREA"}
    picture: Image.Image = frame.to_image(threads=1, **scaled)
    turns = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    turn = turns.get(frame.rotation % 360)
    return picture if turn is None else picture.transpose(turn)


def _saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _thumbnail(film: Film) -> bytes:
    # The first frame of many videos is black.
    frame = film.at(0.1)
    return _saved(_picture(frame, _within(frame, _THUMBNAIL_SIDE)), "WEBP", quality=80)


def _spritesheet(film: Film) -> bytes:
    """Up to 20 frames, the middles of equal stretches, in rows of five; a frame is not shown twice."""
    from PIL import Image

    tiles: list[Image.Image] = []
    shown, size = None, (0, 0)
    for number in range(_TILES):
        frame = film.at((number + 0.5) / _TILES)
        size = size if tiles else _within(frame, _TILE_SIDE)
        if frame is not shown:
            tiles.append(_picture(frame, size))
        shown = frame
    width, height = tiles[0].size
    sheet = Image.new("RGB", (width * min(_COLUMNS, len(tiles)), height * -(-len(tiles) // _COLUMNS)))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(tile, (column * width, row * height))
    return _saved(sheet, "JPEG", quality=85)


WORKS: Final[Mapping[str, Callable[[Film], bytes]]] = {
    "first": lambda film: _saved(_picture(film.first()), "PNG"),
    "last": lambda film: _saved(_picture(film.last()), "PNG"),
    "thumbnail": _thumbnail,
    "spritesheet": _spritesheet,
}
LOOK: Final = "look"
"""The work that tells width and height of a video as it is shown, and its seconds."""


def result(av: Any, file: Any, work: str) -> bytes:
    """What `work` makes of a video; all errors are possible."""
    if work == LOOK:
        return _look(av, file)
    with _opened(av, file) as container:
        return WORKS[work](Film(av, container))


def _look(av: Any, file: Any) -> bytes:
    with _opened(av, file) as container:
        frame, seconds = Film(av, container).measured()
        sides = (frame.width, frame.height)
        width, height = reversed(sides) if frame.rotation % 180 else sides
    # An edit list can show frames often, or hide them: from those who go by it, which not everybody does.
    with _opened(av, file, ignore_editlist="1") as container:
        seconds = max(seconds, Film(av, container).measured()[1])
    return f"{width} {height} {float(seconds):.3f}".encode()


def _opened(av: Any, file: Any, **options: str) -> Any:
    file.seek(0)
    # Never guessed from the bytes: among FFmpeg's formats are playlists, which fetch what they name.
    form = "matroska" if file.read(4) == _EBML else "mov"
    file.seek(0)
    return av.open(file, format=form, options={**_OPTIONS, **options}, io_open=_refuse)


def _refuse(url: str, flags: int, options: Mapping[str, str]) -> Any:
    raise PermissionError("a video that names other files")


def main(arguments: list[str]) -> int:
    """Do one work; answers the exit code."""
    limit(arguments[0])
    try:
        import av
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return NO_PYAV
    try:
        with open(1, "wb", closefd=False) as out:
            out.write(result(av, _Input(), arguments[0]))
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
