"""What a provider says reaches a client without secrets, addresses and ids; the log never shows a known secret."""

from __future__ import annotations

import base64
import io
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.upstream.redact import LONGEST, SHORTEST_SECRET, RedactingFilter, Redactor

SECRET = "canary/Zebra+77 fox"


@pytest.mark.parametrize(
    "sentence",
    [
        "The duration must be 5 or 10.",
        "size must be one of 1280x720, 720x1280 (got 64x64)",
        "Model sora-2-pro-2025-10-06 is not available; try veo-3.1-generate-001 or kling-v2-1-master.",
        "veo-3.1-fast-generate-001, gemini-omni-1.2-flash, CogVideoX1.5-5B-I2V and MiniMax-Hailuo-2.3-Fast are there.",
        "Wan2_2-I2V-A14B-HIGH_fp8_e4m3fn_scaled_KJ and Wan22-I2V-A14B-fp8, not HunyuanVideo1_5-CogVideoX15B",
        "responseFormat_videoConfig2 is neither PyQt5/PySide2 nor EC2S3Wrapper",
        "wan2.2-t2v-plus-20250101 needs key-frames, not a first_frame_image_url",
        "Missing bearer token in a basic request at 2026-11-22T10:00:00",
        "This request has been blocked by our moderation system.",
        "提示词包含敏感内容",
        "aspect_ratio: Input should be '16:9' or '9:16'",
        "internationalization-of-uncharacteristically-long-words stays",
    ],
)
def test_ordinary_sentences_pass(sentence: str) -> None:
    """An ordinary sentence of a provider is not changed."""
    assert Redactor(["hunter2secret"]).text(sentence) == sentence


@pytest.mark.parametrize(
    ("said", "kept", "gone"),
    [
        ("Incorrect API key provided: sk-proj-AbC123xyz789.", "Incorrect API key provided", "AbC123"),
        ("Incorrect API key provided: sk-te****1234 here", "here", "1234"),
        ("key rg_abcdefgh12345678 is revoked", "is revoked", "abcdefgh"),
        ("got Authorization: Bearer abc.DEF-123_x", "Authorization", "DEF"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-part expired", "expired", "eyJ"),
        ("Key AIzaSyA-1234567890abcdefg not valid", "not valid", "SyA"),
        ("see https://api.example.com/v1/jobs/77?sig=zz for more", "for more", "example"),
        ("see HTTPS://api.example.com/v1 for more", "for more", "example"),
        ("next=https%3A%2F%2Fapi.example.com%2Fx done", "done", "example"),
        ("bucket gs://private-bucket/videos/out.mp4 denied", "denied", "private"),
        ("bucket s3://private-bucket/videos/out.mp4 denied", "denied", "private"),
        ("bad image data:image/png;base64,iVBORw0KGgo= given", "given", "iVBOR"),
        ("job 3f2b8c1e-9d4a-4b7e-8f00-1234567890ab failed", "failed", "3f2b"),
        ("task task_01HXYZABCDEF1234567 is unknown", "is unknown", "01HX"),
        ("interaction v1_EC0o9wNKi_4kIR3M9LM-ZmqkjbYGz is unknown", "is unknown", "EC0o"),
        # By chance without a digit.
        ("interaction v1_NWVmNzBlYjZkMTRiYjBlNDkyYmNmMGZlODcwNjMw is unknown", "is unknown", "NWVm"),
        ("file a8Zk2-Qm4xT_9bLw3 is unknown", "is unknown", "Qm4xT"),
        ("task cgt-20250401123456-abcde is unknown", "is unknown", "cgt"),
        ("task 831922345719271433 is unknown", "is unknown", "8319"),
        ("sha 9f86d081884c7d659a2feaa0c55ad015 differs", "differs", "9f86"),
        ("blob QUJDREVGRw0123+/xyzABCDEFGHIJKLMNOP0987== refused", "refused", "QUJD"),
    ],
)
def test_what_looks_secret_goes(said: str, kept: str, gone: str) -> None:
    """Keys, tokens, addresses, data and ids are taken out, and the words around them stay."""
    redacted = Redactor().text(said)
    assert gone not in redacted
    assert kept in redacted


def test_given_ids_go() -> None:
    """An upstream id that looks like an ordinary word is taken out when it is named, the longest first."""
    assert Redactor().text("no job blue-whale or blue", ids=("blue", "blue-whale", "")) == "no job [id] or [id]"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        json.dumps(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"user:" + SECRET.encode() + b":x").decode(),
        base64.b64encode(b"u:" + SECRET.encode()).decode(),
    ],
)
def test_forms_of_a_secret_go(form: str) -> None:
    """A known secret is found quoted, escaped and inside base64 at every alignment."""
    redacted = Redactor([SECRET]).secrets(f"before {form} after")
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert "[secret]" in redacted


def test_lines_of_a_secret_go() -> None:
    """A secret of several lines is found line by line."""
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nAQEFAASCBKcwggSjAgEA\n"
    assert "MIIEvQ" not in Redactor([pem]).secrets("cannot parse MIIEvQIBADANBgkqhkiG9w0")


def test_short_secrets_are_ignored() -> None:
    """A value too short to be a secret does not tear words apart."""
    assert Redactor(["", "a", "demo"]).secrets("a demo") == "a demo"


@given(st.text(max_size=60), st.text(max_size=700))
@example("x" * 20, "\x00")
@settings(deadline=None, max_examples=150)
def test_no_secret_survives(before: str, after: str) -> None:
    """Whatever stands around it, a secret is gone, no control character is left, and the length is bounded."""
    redacted = Redactor([SECRET]).text(f"{before}{SECRET}{after}")
    assert SECRET not in redacted
    assert len(redacted) <= LONGEST
    assert redacted.isprintable() or not any(ord(c) < 32 or ord(c) == 127 for c in redacted)


@given(st.text(alphabet="ab1-_/.:+= \n%", max_size=400))
@settings(deadline=None, max_examples=100)
def test_is_stable(text: str) -> None:
    """What was redacted once passes a second time unchanged."""
    redactor = Redactor([SECRET])
    once = redactor.text(text)
    assert redactor.text(once) == once


def test_a_long_body_is_cut_after_it_was_redacted() -> None:
    """A secret at the place of the cut leaves no half of it behind."""
    secret = "Zebra" * 10
    for lead in range(LONGEST - 60, LONGEST):
        assert "Zebra" not in Redactor([secret]).text("." * lead + secret)
    for lead in range(16_300, 16_400):
        assert "Zebra" not in Redactor([secret]).text("https://x.example/".ljust(lead, "y") + " " + secret)


def logged(redactor: Redactor) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(redactor))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, stream


def test_log_shows_no_known_secret() -> None:
    """Message, arguments, exception and stack of a record lose the secret; the rest stays, addresses too."""
    redactor = Redactor()
    logger, stream = logged(redactor)
    redactor.add(SECRET)
    logger.info("calling %s with %r at https://example.com/x", SECRET, {"key": SECRET})
    try:
        raise ValueError(f"bad {SECRET}")
    except ValueError:
        logger.exception("failed", stack_info=True)
    written = stream.getvalue()
    assert SECRET not in written
    assert "https://example.com/x" in written
    assert "ValueError: bad [secret]" in written
    assert "Stack (most recent call last)" in written


def test_log_leaves_other_records_alone() -> None:
    """Without a secret in it, a record is written as it was, percent signs included."""
    redactor = Redactor([SECRET])
    logger, stream = logged(redactor)
    logger.info("100%")
    logger.info("%d of %d", 1, 2)
    assert stream.getvalue() == "100%\n1 of 2\n"


def test_log_survives_a_wrong_format() -> None:
    """A record whose arguments do not fit is still written, and still without the secret."""
    logger, stream = logged(Redactor([SECRET]))
    logger.info("%d", SECRET)
    assert "[secret]" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_shortest_secret() -> None:
    """The limit is where it is said to be."""
    word = "Q7" * SHORTEST_SECRET
    assert Redactor([word[:SHORTEST_SECRET]]).secrets(word[:SHORTEST_SECRET]) == "[secret]"
    assert Redactor([word[: SHORTEST_SECRET - 1]]).secrets(word) == word
