"""What both shapes of the Gemini Developer API share: keys, generated files, pictures and films, and the quota.

https://ai.google.dev/gemini-api/docs/files as the fact sheet has it. A download answers a redirect to the second
origin, which asks for no key. Not confirmed, and knobs here: what a wrong key is told (`wrong_key_status`), and what is
said of a file that is gone (`gone_status`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from proxy.testing import Answer, Call, Job, Refuse, operation
from tests.simulators.google import GoogleApi
from tests.simulators.media import duration, measure
from tests.simulators.vertex import CODES, RETRY_INFO

API = "/{version:v1|v1beta}"
"""Where the documents are at v1beta, google-genai 3.4.0 is at v1 unless it is told otherwise."""
KEY = "AIzaSyD-5e1f7c0b9a2d4863-reelgate-tests"
FILE_LIFE = 2 * 24 * 3600
IMAGES = ("image/jpeg", "image/png", "image/webp")
INVALID_KEY = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}

FILE = "files/{file:[a-z0-9]+}"

_FILE = re.compile(r"/v1(?:beta)?/files/([a-z0-9]+)(?::download)?(?:\?.*)?")


@dataclass(slots=True)
class File:
    """A generated file. `waits` is how many looks at it still find it PROCESSING; a held one stays as it is."""

    id: str
    job: Job
    created_at: float
    ends_at: float
    state: str
    waits: int
    deleted: bool = False


class GeminiFiles(GoogleApi):
    """Keys, files and quota. `keys` are API keys."""

    def __init__(self, *, keys: Collection[str] = (KEY,)) -> None:
        super().__init__(keys=keys)
        self.files: dict[str, File] = {}
        """Generated files by their ids."""
        self.processing_polls = 1
        """How many looks at a file of an interaction find it PROCESSING, where nothing is moved by hand."""
        self.redirects = True
        """Whether a download is a redirect to the other origin, or the film itself."""
        self.public_url: str | None = None
        """The origin in the addresses of files; None: `base_url`. Google's SDK reads none but https ones."""
        self.gone_status = 404
        self.wrong_key_status = 401
        """400: a wrong key is an INVALID_ARGUMENT whose details say API_KEY_INVALID."""
        self.per_minute: int | None = None
        """How many jobs a key may start in a minute before a 429 comes."""
        self.retry_delay: str | None = None
        """What the RetryInfo of that 429 says, such as "37s"; None: it has none."""
        self.retired = {"gemini-omni-flash-preview"}
        self._links: dict[str, File] = {}

    # -- keys and quota ------------------------------------------------------------------------------------------------

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise self.refuse(f"Invalid URL ({call.method} {call.path})", 404)
        key = call.headers.get("x-goog-api-key") or call.query.get("key")
        return key if key in self.keys else None

    def unauthorised(self, call: Call) -> Answer:
        if self.wrong_key_status == 400:
            return self.error(400, "API key not valid. Please pass a valid API key.", details=[INVALID_KEY])
        return self.error(self.wrong_key_status, "Request had invalid authentication credentials.")

    def room(self, call: Call) -> None:
        """Refuse a job beyond the key's quota."""
        since = int(time.time()) - 60
        recent = sum(job.account == call.account and job.created_at > since for job in self.jobs.values())
        if self.per_minute is not None and recent >= self.per_minute:
            details = [{"@type": RETRY_INFO, "retryDelay": self.retry_delay}] if self.retry_delay else []
            sentence = "You exceeded your current quota, please check your plan and billing details."
            raise Refuse(self.error(429, sentence, details=details))

    # -- files ---------------------------------------------------------------------------------------------------------

    def file_of(self, job: Job) -> File:
        """The file of the job's film, which is made when it is first asked for."""
        if "file" not in job.facts:
            # Veo's files are there at once; what a test moves by hand it moves alone.
            slow = self.automatic and not job.held and job.facts["shape"] == "interactions"
            waits, now = self.processing_polls if slow else 0, time.time()
            file = File(secrets.token_hex(6), job, now, now + FILE_LIFE, "PROCESSING" if waits else "ACTIVE", waits)
            self.files[file.id] = file
            job.facts["file"] = file.id
        return self.files[job.facts["file"]]

    def address(self, file: File) -> str:
        return f"{self.public_url or self.base_url}/v1beta/files/{file.id}:download?alt=media"

    def hold_file(self, job_id: str, state: str) -> None:
        """Hold the file of a job's film in PROCESSING, ACTIVE or FAILED."""
        file = self.file_of(self.jobs[job_id])
        file.state, file.waits = state, 0

    def expire_files(self) -> None:
        """Let every file that there is reach its end now."""
        for file in self.files.values():
            file.ends_at = 0

    def known_file(self, call: Call, file_id: str) -> File:
        """The caller's own file; refused where there is none, or none any more."""
        file = self.files.get(file_id)
        if file is None or file.deleted or file.ends_at < time.time() or file.job.account != call.account:
            sentence = f"You do not have permission to access the File {file_id} or it may not exist."
            raise self.refuse(sentence, self.gone_status)
        return file

    def described(self, file: File) -> dict[str, Any]:
        told = {
            "name": f"files/{file.id}",
            "mimeType": "video/mp4",
            "sizeBytes": str(len(self.content_of(file.job))),
            "createTime": stamp(file.created_at),
            "expirationTime": stamp(file.ends_at),
            "uri": f"{self.public_url or self.base_url}/v1beta/files/{file.id}",
            "downloadUri": self.address(file),
            "state": file.state,
            "source": "GENERATED",
        }
        if file.state == "FAILED":
            return {**told, "error": {"code": CODES["INTERNAL"], "message": "The file could not be processed."}}
        return told

    @operation("file", "GET", f"{API}/{FILE}")
    async def look(self, call: Call) -> Answer:
        file = self.known_file(call, call.match["file"])
        told = self.described(file)
        if file.waits:
            file.waits -= 1
            file.state = file.state if file.waits else "ACTIVE"
        return Answer(json=told)

    @operation("delete_file", "DELETE", f"{API}/{FILE}")
    async def delete_file(self, call: Call) -> Answer:
        file = self.known_file(call, call.match["file"])
        file.deleted = True
        # All that can be deleted of a job of Veo's.
        file.job.removed |= file.job.facts["shape"] == "predict"
        return Answer(json={})

    @operation("content", "GET", f"{API}/{FILE}:download")
    async def download(self, call: Call) -> Answer:
        file = self.known_file(call, call.match["file"])
        if call.query.get("alt") != "media":
            return Answer(json=self.described(file))
        if file.state != "ACTIVE":
            sentence = f"The File {file.id} is not in an ACTIVE state and usage is not allowed."
            raise self.refuse(sentence, word="FAILED_PRECONDITION")
        if not self.redirects:
            return self.serve(call, self.content_of(file.job))
        token = secrets.token_urlsafe(32)
        self._links[token] = file
        return Answer(status=302, headers={"Location": f"{self.files_url}/films/{token}"})

    @operation("stored", "GET", "/films/{token}", open=True)
    async def stored(self, call: Call) -> Answer:
        """The film behind a redirect, for whoever has the address."""
        file = self._links.get(call.match["token"])
        if not call.elsewhere or file is None or file.deleted or file.ends_at < time.time():
            return self.error(404, "There is nothing here.")
        return self.serve(call, self.content_of(file.job))

    # -- validation ----------------------------------------------------------------------------------------------------

    def body(self, call: Call, known: Collection[str]) -> Mapping[str, Any]:
        fields = call.json
        if call.content_type != "application/json" or not isinstance(fields, dict):
            raise self.refuse("Invalid JSON payload received.")
        self.closed(fields, known)
        return fields

    def closed(self, fields: Mapping[str, Any], known: Collection[str], at: str = "") -> None:
        """Refuse a name that is not known."""
        for name in fields:
            if name not in known:
                where = f" at '{at}'" if at else ""
                raise self.refuse(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')

    def known_model(self, name: str, models: Collection[str]) -> None:
        if name in self.retired:
            raise self.refuse(f"models/{name} is no longer available.", 404)
        if name not in models:
            raise self.refuse(f"models/{name} is not found for API version v1beta.", 404)

    def decoded(self, at: str, text: Any) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise self.refuse(f"Invalid value at '{at}' (TYPE_BYTES), Base64 decoding failed.") from None

    async def picture(self, at: str, text: Any, media_type: Any) -> None:
        """Refuse base64 that is no picture."""
        if media_type not in IMAGES:
            raise self.refuse(f"Unsupported MIME type of {at}; supported are {', '.join(IMAGES)}.")
        if await asyncio.to_thread(measure, self.decoded(at, text)) is None:
            raise self.refuse(f"Unable to process the input image at {at}.")

    def film(self, at: str, text: Any, media_type: Any) -> float:
        """The seconds of an MP4 in base64; refused where it is none."""
        data = self.decoded(at, text)
        if media_type != "video/mp4" or data[4:8] != b"ftyp" or not (seconds := duration(data)):
            raise self.refuse(f"Unable to process the input video at {at}: it must be a video/mp4.")
        return seconds

    def own_file(self, call: Call, uri: str) -> File | None:
        """The file that an address of this API names; None for other addresses, refused where it cannot be used."""
        found = _FILE.fullmatch(uri.removeprefix(self.public_url or self.base_url))
        if found is None:
            return None
        file = self.known_file(call, found[1])
        if file.state != "ACTIVE":
            raise self.refuse(f"The File {file.id} is not in an ACTIVE state.", word="FAILED_PRECONDITION")
        return file

    def rename(self, job: Job, name: str) -> None:
        """Let the wire know a job by `name`."""
        del self.jobs[job.id]
        job.id = name
        self.jobs[name] = job


def stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S}Z"
