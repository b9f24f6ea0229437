"""The keys for pictures, files and the archive: every wrong value is one mistake, with its line and its key."""

from __future__ import annotations

import pytest

from proxy import config
from tests.config.test_config import ONE, mistakes, parse

FOLDER = "must be a folder or a bucket as s3://bucket/prefix, or null for none"
BYTES = "must be a number of bytes such as 64MiB or 10MB"
AGE = "must be a number above 0"

WRONG = {
    "archive: off": f"archive: {FOLDER}, not off",
    "archive: 5": f"archive: {FOLDER}, not the number 5",
    "archive: []": "archive: must be a text, not a list",
    "archive: ''": "archive: is empty",
    "archive: ~/v": "archive: must be a folder, written out",
    'archive: "a\\0b"': "archive: must be a folder, written out",
    "archive: file:///v": "archive: must be a folder, or a bucket",
    "archive_max_age: 30d": f"archive_max_age: {AGE}",
    "archive_max_age: 0": f"archive_max_age: {AGE}",
    "archive_max_age: .inf": f"archive_max_age: {AGE}",
    "archive_max_bytes: 0": f"archive_max_bytes: {BYTES}",
    "archive_max_bytes: true": f"archive_max_bytes: {BYTES}",
    "archive_max_bytes: {a: 1}": f"archive_max_bytes: {BYTES}, not a mapping",
    "media_cache:": f"media_cache: {BYTES}, not empty",
    "media_cache: [1]": f"media_cache: {BYTES}, not a list",
    "inputs:": "inputs: must look like {max_bytes: 20MiB, max_count: 8}, not empty",
    "inputs: 5": "inputs: must look like {max_bytes: 20MiB, max_count: 8}, not the number 5",
    "inputs: {max_bytes: x}": f"inputs.max_bytes: {BYTES}",
    "inputs: {max_pixels: 0}": "inputs.max_pixels: must be a whole number of at least 1",
    "inputs: {max_count: 17}": "inputs.max_count: must be a whole number of at least 1 and of at most 16",
    "inputs: {max_count:}": "inputs.max_count: must be a whole number of at least 1 and of at most 16, not empty",
    "inputs: {max_pixls: 1}": "inputs.max_pixls: is an unknown key; did you mean max_pixels?",
    "file_ttl: 60": "file_ttl: must be a whole number of at least 3600",
    "file_ttl: 1.5": "file_ttl: must be a whole number of at least 3600",
    "files_per_key: lots": f"files_per_key: {BYTES}",
    "files_per_key:": f"files_per_key: {BYTES}, not empty",
    "archive: 7\n  media_cache: 1 cow": f"archive: {FOLDER}",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_value_is_one_mistake(text: str) -> None:
    """Each wrong value is told once, where it stands and what would be right."""
    found = mistakes(f"{ONE}server:\n  {text}\n")
    assert len(found) == 1 + text.count("\n")
    assert found[0].startswith(f"5: server.{WRONG[text]}")


def test_a_wrong_archive_is_no_missing_one() -> None:
    """A channel that wants an archive is not blamed for what is wrong with it, only for one that is not there."""
    wanting = ONE + "  content: archive\nserver: {archive: %s}\n"
    assert [line.partition(":")[0] for line in mistakes(wanting % "7")] == ["5"]
    assert [line.partition(":")[0] for line in mistakes(wanting % "null")] == ["4"]


def test_every_mistake_of_inputs_is_told() -> None:
    """One wrong limit hides none of the others."""
    found = mistakes(ONE + "server:\n  inputs:\n    max_bytes: 0\n    max_count: 99\n    max_pixls: 2\n")
    assert [line.partition(": ")[0] for line in found] == ["6", "7", "8"]


def test_right_values_are_read() -> None:
    """Bytes have units up to TiB; what may be null is none."""
    found = parse(
        """
        server:
          archive: videos
          archive_max_age: 3600
          archive_max_bytes: 2TiB
          media_cache: 1.5 GB
          inputs: {max_bytes: 5MiB, max_pixels: 1000, max_count: 2}
          file_ttl: 3600
          files_per_key: 10kB
        channels: [{name: a, type: demo, content: archive}]
        """
    ).server
    assert (found.archive, found.archive_max_age, found.archive_max_bytes) == ("/srv/videos", 3600, 2 * 2**40)
    assert (found.media_cache, found.file_ttl, found.files_per_key) == (1_500_000_000, 3600, 10_000)
    assert found.inputs == config.rules.InputLimits(max_bytes=5 * 2**20, max_pixels=1000, max_count=2)
    none = parse("server: {archive: null, archive_max_age: null, archive_max_bytes: null}\n" + ONE).server
    assert (none.archive, none.archive_max_age, none.archive_max_bytes) == (None, None, None)
