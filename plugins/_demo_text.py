"""Letters in the demo channel's pictures: any prompt is drawn as well as the fonts here can, and none fails."""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFilter, ImageFont

# Pillow's own font has little beyond ASCII. These are where Debian, Fedora, Arch, macOS and Windows put theirs.
_FONT_FILES: Final = tuple(
    Path(name)
    for name in (
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
        "/usr/share/fonts/TTF/DejaVuSans.ttf",
        "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
        "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
        "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
        "/System/Library/Fonts/Helvetica.ttc",
        "/System/Library/Fonts/PingFang.ttc",
        "/System/Library/Fonts/STHeiti Light.ttc",
        "/System/Library/Fonts/Hiragino Sans GB.ttc",
        "/Library/Fonts/Arial Unicode.ttf",
        "C:/Windows/Fonts/segoeui.ttf",
        "C:/Windows/Fonts/msyh.ttc",
        "C:/Windows/Fonts/YuGothR.ttc",
        "C:/Windows/Fonts/malgun.ttf",
    )
)
_NO_SUCH_CHARACTER: Final = "\U0010fffe"
# Chinese, Japanese and Korean break between any two characters, the rest between words.
_EAST: Final = r"\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKEN: Final = re.compile(rf"\s+|[{_EAST}]|[^\s{_EAST}]+")


class Label(NamedTuple):
    """Letters ready to be laid over a frame: white where `letters` is, over a shade where `shade` is."""

    letters: Image.Image
    shade: Image.Image


@functools.cache
def _files() -> tuple[Path | None, ...]:
    return (None, *(file for file in _FONT_FILES if file.is_file()))


@functools.lru_cache(maxsize=64)
def _font(file: Path | None, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        font = ImageFont.load_default(size) if file is None else ImageFont.truetype(str(file), size)
    except OSError:
        return None
    return font if isinstance(font, ImageFont.FreeTypeFont) else None


@functools.lru_cache(maxsize=8192)
def _has(file: Path | None, character: str) -> bool:
    font = _font(file, 24)
    if font is None:
        return False
    try:
        return bytes(font.getmask(character)) != bytes(font.getmask(_NO_SUCH_CHARACTER))
    except (OSError, ValueError):
        return False


def _file_for(character: str, first: Path | None) -> Path | bool | None:
    """The font file that can draw `character`, `first` preferred; False where none can."""
    if character == " " or _has(first, character):
        return first
    return next((file for file in _files() if _has(file, character)), False)


def drawable(text: str) -> str:
    """`text` with what no font here can draw simplified (é to e) or left out; a sentence where too little is left."""
    kept: list[str] = []
    lost = 0
    for character in text:
        if _file_for(character, None) is not False:
            kept.append(character)
            continue
        plain = "".join(part for part in unicodedata.normalize("NFKD", character) if part.isascii())
        kept.append(plain)
        lost += not plain
    result = " ".join("".join(kept).split())
    if lost > len(result.replace(" ", "")):
        return f"({len(text)} characters that no font on this computer can show)"
    return result


def _runs(text: str) -> list[tuple[Path | None, str]]:
    """`text` cut where the font changes; the font that draws most of it is preferred throughout."""
    letters = [character for character in text if character != " "]
    first = max(_files(), key=lambda file: sum(_has(file, character) for character in letters)) if letters else None
    runs: list[tuple[Path | None, str]] = []
    for character in text:
        file = _file_for(character, first)
        if isinstance(file, bool):
            continue
        if runs and runs[-1][0] == file:
            runs[-1] = (file, runs[-1][1] + character)
        else:
            runs.append((file, character))
    return runs


def _length(text: str, size: int) -> float:
    return sum(font.getlength(run) for file, run in _runs(text) if (font := _font(file, size)) is not None)


def wrap(text: str, size: int, width: float, lines: int) -> list[str] | None:
    """`text` in at most `lines` lines of at most `width` pixels; None where it does not fit."""
    done: list[str] = []
    line = ""
    for token in _TOKEN.findall(text):
        joined = (line + token).lstrip()
        if not joined or _length(joined.rstrip(), size) <= width:
            line = joined
            continue
        if line.strip():
            done.append(line.rstrip())
        line = token.lstrip()
        while line and _length(line, size) > width:
            count = max(1, int(len(line) * width / _length(line, size)))
            while count > 1 and _length(line[:count], size) > width:
                count -= 1
            done.append(line[:count])
            line = line[count:]
            if len(done) > lines:
                return None
        if len(done) > lines:
            return None
    if line.strip():
        done.append(line.rstrip())
    return done if len(done) <= lines else None


def _fitted(text: str, width: float, largest: int, smallest: int) -> tuple[list[str], int]:
    size = largest
    while size > smallest:
        fitting = wrap(text, size, width, 3 if size > largest * 0.6 else 5)
        if fitting is not None:
            return fitting, size
        size = max(smallest, int(size * 0.88))
    while (fitting := wrap(text, smallest, width, 6)) is None:
        text = text[: int(len(text) * 0.9)].rstrip(" …") + "…"
        if len(text) < 8:
            return [], smallest
    return fitting, smallest


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int) -> None:
    left, baseline = place
    for file, run in _runs(text):
        font = _font(file, size)
        if font is not None:
            draw.text((left, baseline), run, fill=255, font=font, anchor="ls")
            left += font.getlength(run)


def _shade(letters: Image.Image, spread: float, strength: float) -> Image.Image:
    blurred = letters.filter(ImageFilter.GaussianBlur(max(1.0, spread)))
    return blurred.point([min(255, int(level * strength)) for level in range(256)])


def title(text: str, width: int, height: int) -> Label:
    """The prompt, wrapped, for the lower part of a frame of `width` by `height`; the label is as wide as the frame."""
    short = min(width, height)
    largest = max(8, int(short * 0.066))
    smallest = max(7, int(short * 0.028))
    margin = max(3, int(width * 0.06))
    lines, size = _fitted(drawable(text), width - 2 * margin, largest, smallest)
    step = size * 1.3
    bottom = max(2, int(height * 0.045))
    tall = min(height, int(step * len(lines) + size * 2 + bottom)) // 2 * 2
    letters = Image.new("L", (width, tall), 0)
    draw = ImageDraw.Draw(letters)
    for number, line in enumerate(reversed(lines)):
        _write(draw, (margin, tall - bottom - number * step), line, size)
    fade = Image.linear_gradient("L").resize((width, tall)).point([int(level * 0.62) for level in range(256)])
    shade = _shade(letters, size * 0.1, 1.5)
    return Label(letters, Image.composite(Image.new("L", (width, tall), 190), fade, shade))


def caption(text: str, size: int, width: int) -> Label:
    """One short line of at most `width` pixels, cut where it is longer, on its own shade."""
    text = drawable(text)
    while len(text) > 1 and _length(text, size) > width:
        text = text[:-2].rstrip() + "…"
    letters = Image.new("L", (max(2, int(_length(text, size)) + size), int(size * 1.8)), 0)
    _write(ImageDraw.Draw(letters), (size * 0.5, size * 1.25), text, size)
    return Label(letters, _shade(letters, size * 0.14, 1.4))


class Timecode:
    """hours:minutes:seconds:frames in digits of one width, drawn from ready glyphs."""

    def __init__(self, size: int) -> None:
        font = _font(None, size)
        if font is None:
            raise OSError("Pillow's built-in font cannot be loaded")
        cell = max(2, int(max(font.getlength(digit) for digit in "0123456789")) + 1)
        tall = int(size * 1.7)
        pad = max(2, int(size * 0.6))
        self.glyphs: dict[str, Image.Image] = {}
        for character in "0123456789:":
            glyph = Image.new("L", (cell if character != ":" else max(2, cell // 2), tall), 0)
            ImageDraw.Draw(glyph).text((glyph.width / 2, tall / 2), character, fill=255, font=font, anchor="mm")
            self.glyphs[character] = glyph
        wide = 2 * pad + sum(self.glyphs[character].width for character in "00:00:00:00")
        self.pad = pad
        large = Image.new("L", (wide * 4, tall * 4), 0)
        ImageDraw.Draw(large).rounded_rectangle((0, 0, wide * 4 - 1, tall * 4 - 1), radius=tall * 2, fill=110)
        self.pill = large.reduce(4)

    def label(self, frame: int, fps: int) -> Label:
        """The timecode of frame number `frame`."""
        whole, part = divmod(frame, fps)
        letters = Image.new("L", self.pill.size, 0)
        left = self.pad
        for character in f"{whole // 3600 % 100:02}:{whole // 60 % 60:02}:{whole % 60:02}:{part:02}":
            glyph = self.glyphs[character]
            letters.paste(glyph, (left, 0))
            left += glyph.width
        return Label(letters, self.pill)
