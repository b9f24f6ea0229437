"""The demo channel's films: the facts of a job -> its frames -> an H.264 MP4, and pictures taken out of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ._demo_scene import Portrait, Scene

_PACES: Final = {"fast": 2.0, "slow": 0.5}
_TILES: Final = 20
_ITU_709: Final = 1
_LIMITED_RANGE: Final = 1


class Film:
    """The frames that the facts of a job describe. The same facts always give the same pictures.

    `facts` are JSON: `seed`, `fps`, `size` [width, height], `seconds`, and `parts`, each with the second `at` that it
    begins, its `text`, `traits` and `accent`. Within its last second the film becomes the picture `ending`.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        *,
        backdrop: Image.Image | None = None,
        ending: Image.Image | None = None,
        portraits: tuple[Portrait, ...] = (),
    ) -> None:
        self.facts = facts
        self.fps: int = facts["fps"]
        self.size: tuple[int, int] = (facts["size"][0], facts["size"][1])
        self.frames: int = facts["seconds"] * self.fps
        self._backdrop = backdrop
        self._ending = ending
        self._portraits = portraits

    def pictures(self) -> Iterator[Image.Image]:
        """Every frame in order; a later part comes over the earlier one within a second."""
        parts = self.facts["parts"]
        phase = 0.0
        earlier: Scene | None = None
        for index, part in enumerate(parts):
            scene = self._scene(part)
            first = part["at"] * self.fps
            end = parts[index + 1]["at"] * self.fps if index + 1 < len(parts) else self.frames
            pace = _PACES.get(part["traits"].get("pace", ""), 1.0) * 24 / self.fps
            for number in range(first, end):
                picture = scene.frame(number, phase)
                share = (number - first) / self.fps
                if earlier is not None and share < 1.0:
                    picture = Image.blend(earlier.frame(number, phase), picture, share)
                left = self.frames - 1 - number
                if self._ending is not None and left < self.fps:
                    picture = Image.blend(self._ending, picture.convert("RGB"), left / self.fps)
                yield picture
                phase += pace
            earlier = scene

    def _scene(self, part: Mapping[str, Any]) -> Scene:
        return Scene(
            self.size,
            self.fps,
            seed=self.facts["seed"],
            accent=part["accent"],
            text=part["text"],
            traits=part["traits"],
            backdrop=self._backdrop,
            portraits=self._portraits,
        )


def _av() -> Any:
    # Imported late, so that the plugin loads, and says what it needs, where PyAV is missing.
    import av
    import av.video.reformatter

    return av


def encode(film: Film, path: Path, after: Callable[[int], None]) -> None:
    """Write the film to `path` as a whole MP4. `after` is told how many frames are done after each, and may
    raise to stop."""
    av = _av()
    width, height = film.size
    # The index goes in front (faststart), and there is a key frame each second, so that players start and seek at once.
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=film.fps, options={"preset": "superfast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        codec = stream.codec_context
        codec.thread_count = 1
        codec.gop_size = film.fps
        codec.max_b_frames = 0
        codec.colorspace, codec.color_primaries, codec.color_trc = _ITU_709, _ITU_709, _ITU_709
        codec.color_range = _LIMITED_RANGE
        reformatter = av.video.reformatter.VideoReformatter()
        for number, picture in enumerate(film.pictures()):
            frame = reformatter.reformat(
                av.VideoFrame.from_image(picture),
                format="yuv420p",
                dst_colorspace=_ITU_709,
                dst_color_range=_LIMITED_RANGE,
                threads=1,
            )
            frame.pts, frame.time_base = number, Fraction(1, film.fps)
            container.mux(stream.encode(frame))
            after(number + 1)
        container.mux(stream.encode(None))


def first_frame(path: Path) -> Image.Image:
    """The first frame of the video at `path`; a ValueError where it has none that can be decoded."""
    av = _av()
    try:
        with av.open(str(path)) as container:
            if container.streams.video:
                for frame in container.decode(container.streams.video[0]):
                    picture: Image.Image = frame.to_image()
                    return picture
    except (av.FFmpegError, OSError) as error:
        raise ValueError(str(error)) from error
    raise ValueError("there is no frame in it")


def thumbnail(video: Path) -> Image.Image:
    """The middle frame of a film, at most 640 pixels wide and high."""
    (picture,) = _stills(video, 1)
    picture.thumbnail((640, 640))
    return picture


def spritesheet(video: Path) -> Image.Image:
    """Up to 20 frames of a film, evenly spread over it, in rows of five."""
    tiles = _stills(video, _TILES)
    width, height = tiles[0].size
    shrink = min(1.0, 192 / max(width, height))
    tile = max(1, round(width * shrink)), max(1, round(height * shrink))
    columns = min(5, len(tiles))
    sheet = Image.new("RGB", (tile[0] * columns, tile[1] * -(-len(tiles) // columns)))
    for number, picture in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(picture.resize(tile), (column * tile[0], row * tile[1]))
    return sheet


def _stills(video: Path, count: int) -> list[Image.Image]:
    """The middle frames of `count` equal stretches of the film."""
    av = _av()
    found: list[Image.Image] = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        count = max(1, min(count, stream.frames))
        rate, base = stream.average_rate, stream.time_base
        assert rate is not None
        assert base is not None
        for number in range(count):
            wanted = int((2 * number + 1) * stream.frames / (2 * count))
            container.seek(int(wanted / rate / base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time * rate >= wanted - 0.5:
                    found.append(frame.to_image())
                    break
    return found
