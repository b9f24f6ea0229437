"""What DashScope's simulator says and keeps: its errors, the addresses of results, and temporary files.

https://help.aliyun.com/en/model-studio: error-code and get-temporary-file-url.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation
from tests.simulators.dashscope_models import rule_of
from tests.simulators.media import measure

API: Final = "/api/v1"
BEIJING: Final = timezone(timedelta(hours=8))
UPLOAD_LIFE: Final = 48 * 3600
UPLOAD_MB: Final = 100
SIDES: Final = range(360, 2001)
"""Pixels that a picture may be wide and high: those of the image-to-video models up to 2.6, the narrowest."""

ERRORS: Final = {
    "InvalidParameter": (400, "The parameter is invalid."),
    "InvalidURL": (400, "The request URL is invalid."),
    "DataInspectionFailed": (400, "Input data may contain inappropriate content."),
    "Arrearage": (400, "Access denied, please make sure your account is in good standing."),
    "UnsupportedOperation": (400, "Failed to cancel the task, please confirm if the task is in PENDING status."),
    "InvalidApiKey": (401, "Invalid API-key provided."),
    "AccessDenied": (403, "Access denied."),
    "AccessDenied.Unpurchased": (403, "Access to model denied. Please make sure you are eligible for using the model."),
    "ModelNotFound": (404, "Model not exist."),
    "Throttling": (429, "Requests throttling triggered."),
    "Throttling.RateQuota": (429, "Requests rate limit exceeded, please try again later."),
    "Throttling.AllocationQuota": (429, "Allocated quota exceeded, please increase your quota limit."),
    "InternalError": (500, "Internal server error!"),
    "InternalError.Algo": (500, "Algorithm process error."),
    "InternalError.Timeout": (500, "Service request timeout."),
    "ModelUnavailable": (503, "Model is unavailable, please try again later."),
}
"""Code -> status and sentence."""
WORDS: Final = {
    400: "InvalidParameter",
    401: "InvalidApiKey",
    402: "Arrearage",
    403: "AccessDenied",
    404: "ModelNotFound",
    422: "InvalidParameter",
    429: "Throttling",
    503: "ModelUnavailable",
}
"""The code that goes with a status; InternalError with others."""


@dataclass(slots=True)
class Upload:
    """One permission to upload: the form fields that files must come with, and the files that came, by their key."""

    account: str
    folder: str
    fields: dict[str, str]
    expires_at: float
    files: dict[str, bytes]


class DashScopeFiles(Simulator):
    """Files have an origin of their own: `oss://` ones need a header, results a signature."""

    def __init__(self, *, keys: Collection[str]) -> None:
        super().__init__(keys=keys)
        self.uploads: list[Upload] = []
        self._links: dict[str, tuple[str, float]] = {}

    def error(self, status: int, message: str) -> Answer:
        return self.said({"code": WORDS.get(status, "InternalError"), "message": message}, status)

    def refusal(self, code: str, message: str = "") -> Answer:
        """The error of that code, with its own sentence or another."""
        status, usual = ERRORS[code]
        return self.said({"code": code, "message": message or usual}, status)

    def said(self, data: dict[str, Any], status: int = 200) -> Answer:
        return Answer(status=status, json={**data, "request_id": str(uuid.uuid4())})

    def denied(self, status: int, code: str) -> Answer:
        """What the other origin says, where files are."""
        page = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
        return Answer(status=status, body=page.encode(), headers={"Content-Type": "application/xml"})

    def invalid(self, message: str) -> Refuse:
        return Refuse(self.refusal("InvalidParameter", message))

    def linked(self, job_id: str, signature: str) -> Job | None:
        """The task whose result a link shows, while it does."""
        meant, expires_at = self._links.get(signature, ("", 0))
        return self.jobs[meant] if meant and meant == job_id and expires_at > time.time() else None

    def expire_uploads(self) -> None:
        """Let every temporary file run out."""
        for upload in self.uploads:
            upload.expires_at = 0

    @operation("policy", "GET", f"{API}/uploads")
    async def policy(self, call: Call) -> Answer:
        if call.query.get("action") != "getPolicy":
            raise self.invalid("action must be getPolicy")
        if rule_of(call.query.get("model")) is None:
            raise Refuse(self.refusal("ModelNotFound"))
        folder = f"dashscope-instant/{secrets.token_hex(16)}/{datetime.now(BEIJING):%Y-%m-%d}/{uuid.uuid4()}"
        fields = {
            "OSSAccessKeyId": f"LTAI{secrets.token_hex(10)}",
            "Signature": secrets.token_urlsafe(21),
            "policy": secrets.token_urlsafe(120),
            "x-oss-object-acl": "private",
            "x-oss-forbid-overwrite": "true",
        }
        self.uploads.append(Upload(call.account or "", folder, fields, time.time() + UPLOAD_LIFE, {}))
        data = {
            "policy": fields["policy"],
            "signature": fields["Signature"],
            "upload_dir": folder,
            "upload_host": self.files_url,
            "expire_in_seconds": 300,
            "max_file_size_mb": UPLOAD_MB,
            "oss_access_key_id": fields["OSSAccessKeyId"],
            "x_oss_object_acl": fields["x-oss-object-acl"],
            "x_oss_forbid_overwrite": fields["x-oss-forbid-overwrite"],
        }
        return self.said({"data": data})

    @operation("upload", "POST", "/", open=True)
    async def upload(self, call: Call) -> Answer:
        """As OSS takes a form: the signed fields, the file last, and no other credential."""
        if not call.elsewhere:
            return await self._no_such_route(call)
        if "authorization" in call.headers:
            return self.denied(400, "InvalidArgument")
        if not call.parts or call.parts[-1].name != "file" or call.parts[-1].filename is None:
            return self.denied(400, "MalformedPOSTRequest")
        *texts, file = call.parts
        sent = {part.name: part.text for part in texts}
        key, status = sent.get("key", ""), sent.get("success_action_status", "204")
        for meant in self.uploads:
            if meant.fields.items() <= sent.items() and key.startswith(f"{meant.folder}/"):
                if len(file.data) > UPLOAD_MB * 2**20:
                    return self.denied(400, "EntityTooLarge")
                if key in meant.files:
                    return self.denied(409, "FileAlreadyExists")
                meant.files[key] = file.data
                return Answer(status=200 if status == "200" else 204)
        return self.denied(403, "AccessDenied")

    async def opened(self, call: Call, name: str, kind: str, url: str) -> bytes | None:
        """The bytes of an input, None where it lies outside; refused where DashScope could not read it."""
        data: bytes | None = None
        if url.startswith("oss://"):
            if call.headers.get("x-dashscope-ossresourceresolve") != "enable":
                raise Refuse(
                    self.refusal("InvalidURL", f"{name}: an oss:// address wants X-DashScope-OssResourceResolve")
                )
            key, now = url.removeprefix("oss://"), time.time()
            mine = [upload for upload in self.uploads if upload.account == call.account and upload.expires_at > now]
            data = next((upload.files[key] for upload in mine if key in upload.files), None)
        elif url.startswith("data:"):
            data = unpack(url, kind)
        elif url.startswith(f"{self.files_url}/"):
            parts = urlsplit(url)
            signature = parse_qs(parts.query).get("Signature", [""])[0]
            job = self.linked(parts.path.removeprefix("/1d/").removesuffix(".mp4"), signature)
            data = self.content_of(job) if job else None
        elif url.startswith(("http://", "https://")) and urlsplit(url).netloc:
            return None
        if not data:
            raise Refuse(self.refusal("InvalidURL", f"{name}: the media cannot be downloaded or read."))
        if not await asyncio.to_thread(readable, kind, data):
            raise self.invalid(f"{name}: this is no {kind} that can be read")
        if not await asyncio.to_thread(in_bounds, data):
            raise self.invalid(f"{name}: the width and the height must be in [{SIDES[0]}, {SIDES[-1]}] pixels")
        return data


def unpack(uri: str, kind: str) -> bytes | None:
    """The bytes of a data URI of the right kind; None where it is malformed, or says another type than it has."""
    head, _, text = uri.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    if "base64" not in parameters or (kind != "any" and not media_type.startswith(f"{kind}/")):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def in_bounds(data: bytes) -> bool:
    """Whether a picture has sides of a legal length; what is none has no sides."""
    size = measure(data)
    return size is None or all(int(side) in SIDES for side in size.split("x"))


def readable(kind: str, data: bytes) -> bool:
    """Whether the bytes are of that kind; sounds are not looked into."""
    film = data[4:8] == b"ftyp"
    if kind == "image":
        return measure(data) is not None
    return {"video": film, "any": film or measure(data) is not None}.get(kind, True)
