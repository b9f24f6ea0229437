"""Pictures out of videos: what they show, and that no video harms the process that asks for them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from proxy.errors import NotFound, UnsupportedOperation
from proxy.media import stills, stills_child
from proxy.store import StoreBusy
from tests.media.videos import sound

SIZE = (160, 96)


def ramp(
    frames: int = 40, *, kind: str = "mp4", codec: str = "libx264", gop: int = 250, size: tuple[int, int] = SIZE
) -> bytes:
    """A video at ten frames a second, each a little brighter than the one before."""
    file = BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", size, (number * 6,) * 3))))
        container.mux(stream.encode())
    return file.getvalue()


def shown(picture: Image.Image) -> int:
    """The number of the frame of a `ramp` that the middle of the picture shows."""
    level = picture.convert("L").getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(level, int)
    return round(level / 6)


def here(work: str, video: bytes) -> bytes:
    """What the child makes of a video, made in this process."""
    return stills_child.result(av, BytesIO(video), work)


def opened(picture: bytes) -> Image.Image:
    return Image.open(BytesIO(picture))


VIDEO = ramp()


@pytest.fixture(autouse=True)
def no_children() -> Iterator[None]:
    """No process is left behind, neither running nor dead."""

    def children() -> set[str]:
        return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}

    before = children()
    yield
    assert children() <= before


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(VIDEO)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in the place of the child."""
    return lambda script: monkeypatch.setattr(stills, "command", lambda: ["sh", "-c", script])


# ---------------------------------------------------------------- what they show


async def test_a_frame_is_the_decoded_frame(file: Path) -> None:
    """The first and the last frame have every pixel that PyAV decodes, also of a file that is open at its end."""
    with av.open(BytesIO(VIDEO)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    first = opened(await stills.frame(file, last=False))
    with file.open("rb") as stream:
        stream.seek(0, 2)
        last = opened(await stills.frame(stream, last=True))
    for found, wanted in ((first, frames[0]), (last, frames[-1])):
        assert (found.format, found.tobytes()) == ("PNG", wanted.tobytes())


async def test_the_process_makes_what_its_code_makes(file: Path) -> None:
    """Thumbnail, spritesheet and a look come out of the child byte for byte."""
    assert await stills.thumbnail(file) == here("thumbnail", VIDEO)
    assert await stills.spritesheet(file) == here("spritesheet", VIDEO)
    assert await stills.look(file) == (*SIZE, 4.0)


@pytest.mark.parametrize(("size", "wanted"), [((160, 96), (160, 96)), ((32, 1450), (16, 720))])
def test_a_thumbnail_has_the_shape_of_the_video(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """A thumbnail is a WebP with the video's proportions, never larger than it, and shows the frame after a tenth."""
    picture = opened(here("thumbnail", ramp(20, size=size)))
    assert (picture.format, picture.size) == ("WEBP", wanted)
    assert shown(picture) == 2


@pytest.mark.parametrize(
    ("kind", "codec", "gop"),
    [("mp4", "libx264", 250), ("mp4", "libx264", 7), ("mp4", "libx264", 1), ("webm", "libvpx-vp9", 12)],
)
def test_a_spritesheet_shows_evenly_spread_frames(kind: str, codec: str, gop: int) -> None:
    """A spritesheet is a JPEG of the middles of twenty equal stretches, wherever the key frames are."""
    sheet = opened(here("spritesheet", ramp(kind=kind, codec=codec, gop=gop)))
    assert (sheet.format, sheet.size) == ("JPEG", (800, 384))
    tiles = [(left, top, left + 160, top + 96) for top in range(0, 384, 96) for left in range(0, 800, 160)]
    assert [shown(sheet.crop(tile)) for tile in tiles] == list(range(1, 40, 2))


@pytest.mark.parametrize(("frames", "size"), [(1, (160, 96)), (3, (480, 96)), (7, (800, 192))])
def test_a_short_video_has_each_frame_once(frames: int, size: tuple[int, int]) -> None:
    """A spritesheet of fewer frames than tiles is as large as they need."""
    assert opened(here("spritesheet", ramp(frames))).size == size


@pytest.mark.parametrize("work", ["first", "last", "thumbnail"])
def test_a_turned_video_is_shown_upright(work: str) -> None:
    """What a telephone filmed upright comes out upright, although it is stored lying."""
    matrix = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))
    at = VIDEO.index(b"tkhd") + 44
    turned = VIDEO[:at] + matrix + VIDEO[at + 36 :]
    assert opened(here(work, turned)).size == (96, 160)
    assert here("look", turned).startswith(b"96 160 ")


def test_a_long_video_is_not_decoded_whole() -> None:
    """A late frame costs what follows the key frame before it, and no frame is decoded twice."""
    decoded = 0

    class Counting:
        def __init__(self, container: Any) -> None:
            self.container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self.container, name)

        def decode(self, stream: Any) -> Iterator[Any]:
            nonlocal decoded
            for frame in self.container.decode(stream):
                decoded += 1
                yield frame

    def most(gop: int, work: Callable[[stills_child.Film], Any]) -> int:
        nonlocal decoded
        decoded = 0
        with av.open(BytesIO(ramp(gop=gop))) as container:
            work(stills_child.Film(av, Counting(container)))
        return decoded

    assert most(10, lambda film: film.at(0.86)) <= 10
    assert most(10, lambda film: film.last()) <= 10
    assert most(250, stills_child.WORKS["spritesheet"]) <= 40


# ---------------------------------------------------------------- hostile and broken videos


def hostile(kind: str, folder: Path) -> bytes:
    flat = (96).to_bytes(2, "big") + (160).to_bytes(2, "big")
    match kind:
        case "nothing":
            return b""
        case "rubbish":
            return b"\x00\x00\x00\x18ftypisom" + bytes(5000)
        case "no index":
            return VIDEO[: VIDEO.index(b"moov") - 100]
        case "sound":
            return sound()
        case "bomb":
            return ramp(3, kind="mov", codec="mjpeg").replace(b"\x08" + flat, b"\x08\xff\xff\xff\xff")
        case "playlist":
            (folder / "other.mp4").write_bytes(VIDEO)
            return f"#EXTM3U\n#EXTINF:1,\nfile://{folder}/other.mp4\n#EXT-X-ENDLIST\n".encode()
        case _:
            return ramp(3, kind=kind, codec="mpeg4")


@pytest.mark.parametrize("kind", ["nothing", "rubbish", "no index", "sound", "bomb", "playlist", "avi"])
async def test_what_cannot_be_decoded_is_said(tmp_path: Path, kind: str) -> None:
    """A video that is broken, none, too large, a list of other files, or of a kind that nobody makes here is one clear
    refusal of the variant."""
    path = tmp_path / "video.mp4"
    path.write_bytes(hostile(kind, tmp_path))
    with pytest.raises(UnsupportedOperation, match="cannot be decoded, so that no thumbnail") as error:
        await stills.thumbnail(path)
    assert error.value.param == "variant"


def test_few_codecs_are_decoded() -> None:
    """A codec that no upstream and no camera uses is not let near its decoder, and sound is no video."""
    with pytest.raises(av.FFmpegError, match="codec_whitelist"):
        here("first", ramp(3, kind="mov", codec="mpeg2video"))
    with pytest.raises(ValueError, match="no video stream"):
        here("first", sound())


def test_a_frame_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of more pixels than the bound is refused by the decoder, before it takes memory."""
    pixels = SIZE[0] * SIZE[1]
    # Decoders round up what they ask for.
    monkeypatch.setitem(stills_child._OPTIONS, "max_pixels", str(pixels * 2))
    assert here("look", VIDEO) == b"160 96 4.000"
    monkeypatch.setitem(stills_child._OPTIONS, "max_pixels", str(pixels - 1))
    with pytest.raises(av.FFmpegError):
        here("look", VIDEO)


async def test_a_lost_file_is_said(tmp_path: Path) -> None:
    """A file that went away is a 404, as for the video itself."""
    with pytest.raises(NotFound, match="no longer there"):
        await stills.thumbnail(tmp_path / "none.mp4")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -9 $$", "signal 9"),
        ("kill -11 $$", "signal 11"),
        ("true", "exit code 0"),
        ("exit 3", "exit code 3"),
        ("head -c 33554433 /dev/zero", "exit code 0"),
        (r"printf 'secret\nlast \033[31m\n\n' >&2; exit 1", "exit code 1: last ?[31m"),
    ],
    ids=["killed", "crashed", "silent", "failed", "chatty", "complaining"],
)
async def test_a_child_that_fails_is_a_refusal(
    file: Path, run: Callable[[str], None], caplog: pytest.LogCaptureFixture, script: str, words: str
) -> None:
    """However the process ends, the client gets the same refusal, and the log one harmless line with the cause."""
    caplog.set_level(logging.INFO)
    run(script)
    with pytest.raises(UnsupportedOperation, match="no spritesheet of it") as error:
        await stills.spritesheet(file)
    assert error.value.param == "variant"
    assert words in caplog.text
    assert "secret" not in caplog.text


async def test_a_child_that_hangs_is_killed(
    file: Path, run: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that takes too long is killed, and the video refused."""
    monkeypatch.setattr(stills, "TIMEOUT", 0.05)
    run("exec sleep 600")
    with pytest.raises(UnsupportedOperation, match="no frame can be taken"):
        await stills.frame(file, last=True)
    assert "took longer" in caplog.text


async def test_a_cancelled_request_kills_its_child(file: Path, run: Callable[[str], None], tmp_path: Path) -> None:
    """Who is cancelled has no process any more."""
    run(f"echo started > {tmp_path}/mark; exec sleep 600")
    task = asyncio.create_task(stills.thumbnail(file))
    async with asyncio.timeout(60):
        while not await asyncio.to_thread((tmp_path / "mark").exists):
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_two_children_at_once(file: Path, run: Callable[[str], None], tmp_path: Path) -> None:
    """Of many that are asked for, two are made at a time, and all in the end."""
    run(f"echo 1 >> {tmp_path}/mark; sleep 0.03; echo -1 >> {tmp_path}/mark; echo done")
    assert await asyncio.gather(*(stills.thumbnail(file) for _ in range(5))) == [b"done\n"] * 5
    assert max(accumulate(map(int, (tmp_path / "mark").read_text().split()))) == 2


# ---------------------------------------------------------------- the child's surroundings


@pytest.mark.parametrize(("work", "seconds"), [("thumbnail", "60"), ("look", "10")])
async def test_the_limits_hold(work: str, seconds: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has 1.5 GiB of memory, a minute of processor (for a mere look at a clip ten seconds), 32 MiB of output,
    no core file, and an end by itself."""
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(stills_child.__file__).parent)!r})
import stills_child
stills_child.limit({work!r})
try:
    bytes(2 * 2**30)
except MemoryError:
    print("memory")
try:
    with open({str(file)!r}, "wb") as large:
        large.write(bytes(33 * 2**20))
except OSError:
    print("output")
print(*resource.getrlimit(resource.RLIMIT_CPU), *resource.getrlimit(resource.RLIMIT_CORE), signal.alarm(0) > 90)
"""
    monkeypatch.setattr(stills, "command", lambda: [sys.executable, "-c", script])
    assert (await stills.thumbnail(file)).decode().split() == ["memory", "output", seconds, seconds, "0", "0", "True"]


async def test_the_child_knows_no_secret(
    file: Path, run: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of the upstreams, which are in our environment, are not in that of the process."""
    monkeypatch.setenv("REELGATE_SECRET", "hidden-1")
    monkeypatch.setenv("OPENAI_API_KEY", "hidden-2")
    run("env")
    told = await stills.thumbnail(file)
    assert b"PATH=" in told
    assert b"hidden" not in told


async def test_a_missing_pyav_is_said(file: Path, run: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is told what to install; a PyAV that cannot be loaded is as good as none."""
    run(f"exit {stills_child.NO_PYAV}")
    with pytest.raises(UnsupportedOperation, match=r"pip install 'reelgate\[media\]'") as error:
        await stills.thumbnail(file)
    assert error.value.param == "variant"
    assert await stills.look(file) is None
    run("echo started")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedOperation, match=r"pip install") as error:
        await stills.thumbnail(file)
    assert error.value.param == "variant"


async def test_a_process_that_cannot_start_is_not_the_videos_fault(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an interpreter, memory or a place for one more process, the answer is a 503 that may be tried again."""
    monkeypatch.setattr(stills, "command", lambda: ["/nowhere/python"])
    with pytest.raises(StoreBusy) as caught:
        await stills.thumbnail(file)
    assert caught.value.status == 503
