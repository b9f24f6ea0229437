"""The demo channel's folder: what a job needs to begin again, its film, the pictures taken out of it. All of it blocks.

`ID.json` the facts · `ID.png` the backdrop · `ID.end.png` the last frame · `ID.mp4` the film · `ID.webp` and `ID.jpg`
stills · `character_….png`
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageOps, PngImagePlugin

from proxy import InvalidRequest, UpstreamGone

from ._demo_film import Film, spritesheet, thumbnail
from ._demo_scene import Portrait
from ._demo_words import clean

_CHARACTER: Final = re.compile(r"character_[0-9a-f]{24}", re.ASCII)


class Files:
    """The files in `folder`, which is made when the first comes."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def film(self, job_id: str) -> Path:
        """Where the film is, or will be."""
        return self._path(job_id, "mp4")

    def finished(self, job_id: str) -> Path:
        """Where the film is; an `UpstreamGone` where it is not."""
        path = self.film(job_id)
        if not path.is_file():
            raise UpstreamGone("The file of this demo video is no longer on the server's disk.")
        return path

    def thumbnail(self, job_id: str) -> Path:
        """A WebP picture of the film, made when it is first asked for."""
        return self._still(job_id, "webp", "WEBP", thumbnail)

    def spritesheet(self, job_id: str) -> Path:
        """A JPEG picture with many small frames of the film, made when it is first asked for."""
        return self._still(job_id, "jpg", "JPEG", spritesheet)

    def keep(
        self,
        job_id: str,
        facts: Mapping[str, Any],
        picture: Callable[[], Image.Image] | None,
        ending: Callable[[], Image.Image] | None = None,
    ) -> None:
        """Keep what the render needs; an `InvalidRequest` for an unknown character."""
        for character_id in facts["characters"]:
            if not (_CHARACTER.fullmatch(character_id) and self._path(character_id, "png").is_file()):
                raise InvalidRequest("There is no such character.", param="characters")
        for made, form in ((picture, "png"), (ending, "end.png")):
            if made is not None:
                with made() as opened:
                    exact = fitted(opened, (facts["size"][0], facts["size"][1]))
                with self.written(self._path(job_id, form)) as file:
                    exact.save(file, "PNG", compress_level=1)
        with self.written(self._path(job_id, "json")) as file:
            file.write_text(json.dumps(facts), "utf-8")

    def facts(self, job_id: str) -> dict[str, Any] | None:
        """The facts that `keep` kept, or None."""
        try:
            facts: dict[str, Any] = json.loads(self._path(job_id, "json").read_text("utf-8"))
        except FileNotFoundError:
            return None
        return facts

    def backdrop(self, job_id: str) -> Image.Image:
        """The picture that `keep` kept."""
        return self._picture(job_id, "png")

    def described(self, job_id: str, facts: Mapping[str, Any]) -> Film:
        """The film that the facts of a job describe."""
        backdrop = self.backdrop(job_id) if facts["picture"] else None
        ending = self._picture(job_id, "end.png") if facts.get("ending") else None
        portraits = tuple(map(self._portrait, facts["characters"]))
        return Film(facts, backdrop=backdrop, ending=ending, portraits=portraits)

    def keep_character(self, name: str, picture: Image.Image) -> str:
        """Keep a portrait; answers its id."""
        character_id = f"character_{secrets.token_hex(12)}"
        words = PngImagePlugin.PngInfo()
        words.add_itxt("name", clean(name))
        with self.written(self._path(character_id, "png")) as file:
            fitted(picture, (256, 256)).save(file, "PNG", pnginfo=words)
        return character_id

    def remove(self, job_id: str) -> None:
        """Remove all of a job."""
        for path in self.folder.glob(f"{job_id}.*"):
            path.unlink(missing_ok=True)

    def remove_unfinished(self, job_id: str) -> None:
        """Remove what a killed render of this job left."""
        self.tidy(f"{job_id}.*.part")

    def tidy(self, which: str = "*.part") -> None:
        """Remove what was unfinished when an earlier process was killed: who still writes to a file holds its lock, be
        it another process on this folder, or the channel that was there before a reload."""
        for part in self.folder.glob(which):
            with contextlib.suppress(OSError), part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                part.unlink()

    @contextlib.contextmanager
    def written(self, path: Path) -> Iterator[Path]:
        """A file of another name to write to; it becomes `path` when it is whole and on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.stem}.{secrets.token_hex(8)}.part")
        with part.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield part
                os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        # Windows opens no folder.
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}.{ending}"

    def _picture(self, job_id: str, form: str) -> Image.Image:
        with Image.open(self._path(job_id, form)) as picture:
            return picture.convert("RGB")

    def _portrait(self, character_id: str) -> Portrait:
        with Image.open(self._path(character_id, "png")) as picture:
            picture.load()
            return Portrait(str(picture.info.get("name", "")), picture.convert("RGB"))

    def _still(self, job_id: str, ending: str, form: str, make: Callable[[Path], Image.Image]) -> Path:
        path = self._path(job_id, ending)
        film = self.finished(job_id)
        if not path.is_file():
            with self.written(path) as file:
                make(film).save(file, form, quality=82)
        return path


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`picture` upright, without transparency, cut to `size` where its proportions differ."""
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        upright = Image.new("RGB", coloured.size, (255, 255, 255))
        upright.paste(coloured, mask=coloured.getchannel("A"))
    return ImageOps.fit(upright.convert("RGB"), size, Image.Resampling.LANCZOS)
