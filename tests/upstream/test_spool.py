"""Answers with files in them: what is long and base64 goes to a file, all else stays what it is."""

from __future__ import annotations

import base64
import json
import random
import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.reply import Reply
from proxy.spooled import Spooled
from proxy.upstream.spool import LONGEST_TEXT, Scanner, Unspoolable

PROSE = 'To be, or not to be: "that" is\nthe question \\ 日本語 🎬 /=+-_ '


class File:
    """A leaf of a document that must become a file: its bytes, and how they stand in the JSON."""

    def __init__(self, size: int, seed: int, safe: bool, padded: bool, prefix: str, escaped: str) -> None:
        dice = random.Random(seed)
        self.data = dice.randbytes(size)
        text = (base64.urlsafe_b64encode if safe else base64.b64encode)(self.data).decode()
        text = prefix + (text if padded else text.rstrip("="))
        if escaped == "slashes":
            text = text.replace("/", "\\/")
        elif escaped == "unicode":
            text = re.sub("[/=+7]", lambda found: f"\\u{ord(found[0]):04x}", text)
        elif escaped == "lines":
            text = prefix + "\\r\\n".join(re.findall(".{1,76}", text.removeprefix(prefix)))
        self.text = text


files = st.builds(
    File,
    size=st.integers(LONGEST_TEXT, 3 * LONGEST_TEXT),
    seed=st.integers(0, 1000),
    safe=st.booleans(),
    padded=st.booleans(),
    prefix=st.sampled_from(["", "", "data:video/mp4;base64,", "DATA:image/webp;name=a b;base64,"]),
    escaped=st.sampled_from(["no", "no", "slashes", "unicode", "lines"]),
)
prose = st.integers(1, 3).map(lambda times: PROSE * (times * LONGEST_TEXT // len(PROSE)))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=30)
documents = st.recursive(
    leaves | files | prose,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def written(document: Any, ascii: bool) -> bytes:
    """The document as JSON."""
    found: list[File] = []

    def token(leaf: File) -> str:
        found.append(leaf)
        return f"<file {len(found) - 1}>"

    text = json.dumps(document, default=token, ensure_ascii=ascii)
    for number, leaf in enumerate(found):
        text = text.replace(f'"<file {number}>"', f'"{leaf.text}"', 1)
    return text.encode("utf-8", "surrogatepass")


def same(found: Any, document: Any) -> bool:
    """Whether what was read is the document, with the files in their places."""
    if isinstance(document, File):
        return (
            isinstance(found, Spooled)
            and found.size == len(document.data) == len(found.path.read_bytes())
            and (found.path.read_bytes() == document.data)
        )
    if isinstance(document, dict):
        return (
            isinstance(found, dict)
            and found.keys() == document.keys()
            and all(same(found[key], document[key]) for key in document)
        )
    if isinstance(document, list):
        return isinstance(found, list) and len(found) == len(document) and all(map(same, found, document))
    return type(found) is type(document) and found == document


def pieces(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The body, split at some places."""
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return (body[start:end] for start, end in pairwise(places))


def read(body: bytes, folder: Path, cuts: list[int]) -> Reply:
    scanner = Scanner(folder)
    try:
        for piece in pieces(body, cuts):
            scanner.feed(piece)
        return scanner.reply(200, {})
    finally:
        scanner.close()


@given(documents, st.booleans(), st.lists(st.integers(0, 2**20), max_size=12), st.integers(0, 30))
@settings(
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_document_in_any_pieces_is_the_same_document(
    tmp_path: Path, document: Any, ascii: bool, cuts: list[int], dense: int
) -> None:
    """What is read is what json.loads and base64 make of the whole, however it is split; afterwards no file is left."""
    body = written(document, ascii)
    # Also byte by byte, at some place of the text.
    start = cuts[0] if cuts else 0
    reply = read(body, tmp_path, [*cuts, *range(start, start + 8 * dense)])
    assert same(reply.data, document)
    del reply
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("escaped", ["no", "slashes", "unicode", "lines"])
def test_every_split_of_the_end_is_the_same(tmp_path: Path, escaped: str) -> None:
    """Wherever the end of a file, its padding and its escapes are split, its bytes are the same."""
    file = File(LONGEST_TEXT + 1, 5, False, True, "", escaped)
    document = {"a": file, "b": "\\"}
    body = written(document, True)
    for place in range(len(body) - 120, len(body)):
        assert same(read(body, tmp_path, [place, place + 2]).data, document), place


@pytest.mark.parametrize("length", [LONGEST_TEXT, LONGEST_TEXT + 4])
def test_only_long_texts_are_files(tmp_path: Path, length: int) -> None:
    """Up to the limit base64 stays text; a byte beyond it is a file, also at the top of the document."""
    data = read(b'"' + b"A" * length + b'"', tmp_path, []).data
    assert isinstance(data, Spooled) is (length > LONGEST_TEXT)


def test_what_is_no_base64_from_the_start_stays_text(tmp_path: Path) -> None:
    """Long texts whose beginning is no base64 stay what they are: prose, hex with colons, other data URIs, keys."""
    long = "A" * LONGEST_TEXT
    document = {
        "a": "x " + long,
        "b": long[:-9] + "é" + long,
        "c": "data:text/plain," + long,
        "d": long[:-9] + "= " + long,
    }
    assert read(json.dumps(document).encode(), tmp_path, [77_777]).data == document
    assert list(tmp_path.iterdir()) == []


GOOD = base64.b64encode(random.Random(1).randbytes(90_000)).decode()


BROKEN = {
    "a broken character": GOOD[:100_000] + "*" + GOOD[100_001:],
    "a space": GOOD[:100_000] + " " + GOOD[100_000:],
    "an umlaut": GOOD[:100_000] + "ü" + GOOD[100_000:],
    "an escape": GOOD[:100_000] + "\\u00" + GOOD[100_000:],
    "a backslash": GOOD[:100_000] + "\\\\" + GOOD[100_000:],
    "a null": GOOD[:100_000] + "\x00" + GOOD[100_000:],
    "padding in the middle": GOOD[:100_000] + "==" + GOOD[100_002:],
    "two alphabets": GOOD[:100_000] + "-_" + GOOD[100_002:],
    "one too many": GOOD + "A",
    "too much padding": GOOD + "=",
    "half of the padding": GOOD[:-2] + "=",
    "only padding": GOOD + "====",
    "an end in an escape": GOOD + "\\u003",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_break_in_a_file_is_an_error(tmp_path: Path, broken: str) -> None:
    """A long base64 text that is broken anywhere later is an error, in whatever pieces it comes, and leaves no file."""
    body = f'{{"video": "{BROKEN[broken]}"}}'.encode()
    for cuts in ([], [100_010], [100_011, 100_013, 100_015], list(range(len(body) - 8, len(body)))):
        with pytest.raises(Unspoolable):
            read(body, tmp_path, cuts)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", '"', '"}', "\\"])
def test_a_document_that_breaks_off_is_no_json(tmp_path: Path, end: str) -> None:
    """Without its end a document has no data, and what it shows of itself has nothing of the file."""
    reply = read(f'{{"a": 1, "v": ["{GOOD}{end}'.encode(), tmp_path, [9, 80_000])
    assert reply.data is None
    assert reply.text.startswith('{"a": 1, "v": ["')
    assert GOOD[:40] not in reply.text
    del reply
    assert list(tmp_path.iterdir()) == []


def test_a_placeholder_cannot_be_guessed(tmp_path: Path) -> None:
    """A text that looks like an earlier answer's placeholder stays a text."""
    scanner = Scanner(tmp_path)
    body = f'["{GOOD}", 1'.encode()
    scanner.feed(body)
    kept = scanner.reply(200, {}).text
    scanner.close()
    document = [kept, kept[2:-4]]
    assert read(json.dumps(document).encode(), tmp_path, []).data == document


def test_a_file_is_never_held_in_memory(tmp_path: Path) -> None:
    """The memory does not grow with the file."""
    block = base64.b64encode(bytes(range(256)) * 768)
    scanner = Scanner(tmp_path)
    tracemalloc.start()
    scanner.feed(b'{"v": "')
    for _ in range(64):
        scanner.feed(block)
    scanner.feed(b'"}')
    reply = scanner.reply(200, {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scanner.close()
    assert reply.need("v").size == 64 * 768 * 256
    assert peak < 6 * len(block)


def test_a_file_can_be_taken(tmp_path: Path) -> None:
    """Who takes the file keeps it."""
    reply = read(f'["{GOOD}"]'.encode(), tmp_path / "work", [])
    reply.need("0").take(tmp_path / "kept")
    del reply
    assert (tmp_path / "kept").read_bytes() == base64.b64decode(GOOD)
    assert list((tmp_path / "work").iterdir()) == []


ODD = {
    "BOM": b"\xef\xbb\xbf" + f'{{"v": "{GOOD}"}}'.encode(),
    "a key twice": f'{{"v": "{GOOD}", "v": "{GOOD}"}}'.encode(),
    "a file as a key": f'{{"{GOOD}": 1, "v": "{GOOD}"}}'.encode(),
}
NO_JSON = {
    "NaN": f'{{"v": "{GOOD}", "x": NaN}}'.encode(),
    "UTF-16": f'{{"v": "{GOOD}"}}'.encode("utf-16"),
    "Latin-1": f'{{"v": "{GOOD}", "x": "\xe4"}}'.encode("latin-1"),
    "depth": b"[" * 200_000 + f'"{GOOD}"'.encode() + b"]" * 200_000,
    "two documents": f'["{GOOD}"] ["{GOOD}"]'.encode(),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_json_is_read_as_everywhere(tmp_path: Path, odd: str) -> None:
    """A byte order mark is no part of the document, of two values of a key the last one counts, and what nobody can
    reach vanishes with the answer."""
    reply = read(ODD[odd], tmp_path, [3, 70_000])
    assert reply.need("v").path.read_bytes() == base64.b64decode(GOOD)
    del reply
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("odd", NO_JSON)
def test_what_is_no_json_leaves_no_file(tmp_path: Path, odd: str) -> None:
    """NaN, another charset, endless depth and two documents are no JSON, also with a file within."""
    reply = read(NO_JSON[odd], tmp_path, [3, 70_000])
    assert reply.data is None
    del reply
    assert list(tmp_path.iterdir()) == []
