"""`server.archive` and `content: archive` in the file, and what a check says of a place that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy import config
from proxy.errors import ConfigError, StartupError
from proxy.media.archive import open_archive, problem

CHANNEL = "channels: [{name: a, type: demo, content: archive}]\n"


def parse(archive: str, channels: str = CHANNEL) -> config.Config:
    return config.parse(f"server: {{archive: {archive}}}\n{channels}", Path("/etc/reelgate/channels.yaml"), {})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("data/videos", "/etc/reelgate/data/videos"),
        ("../videos", "/etc/videos"),
        ("/srv/videos", "/srv/videos"),
        ("./s3:videos", "/etc/reelgate/s3:videos"),
        ("s3://bucket", "s3://bucket"),
        ("gcs://my-bucket.x/a/b", "gcs://my-bucket.x/a/b"),
        ("az://container/prefix", "az://container/prefix"),
    ],
)
def test_a_folder_is_taken_from_the_files_own(written: str, read: str) -> None:
    """A folder becomes an absolute path, relative to where the file lies; the address of a bucket stays as it is, and
    with either a channel may say `content: archive`."""
    found = parse(f"'{written}'")
    assert found.server.archive == read
    assert found.channels[0].content == "archive"


def test_no_archive_is_the_default_and_null() -> None:
    """Without the key, and with null, there is no archive, and a channel that wants one is told so."""
    assert parse("null", "channels: [{name: a, type: demo}]\n").server.archive is None
    with pytest.raises(ConfigError, match=r"2: channels\[0\].content \(channel a\): needs an archive"):
        parse("null")


def test_a_mistake_in_the_archive_is_told_once() -> None:
    """Where `server.archive` itself is wrong, the channels that need it are not blamed."""
    with pytest.raises(ConfigError) as caught:
        parse("'ftp://k:hush@x'")
    assert [str(mistake).split(": ")[1] for mistake in caught.value.mistakes] == ["server.archive"]
    assert "hush" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A place that is a file, or lies below one, is a problem for the check and stops a start; a folder that can be
    made is none, and the check makes nothing."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        said = problem(str(folder))
        assert said is not None
        assert f"server.archive: {folder} must be a folder that can be written" in said
        with pytest.raises(StartupError, match="must be a folder that can be written"):
            open_archive(str(folder))
    assert problem(str(tmp_path / "new" / "one")) is None
    assert not (tmp_path / "new").exists()


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without obstore, a bucket is a problem whose sentence says what to install."""
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    said = problem("s3://bucket/prefix")
    assert said is not None
    assert "pip install 'reelgate[s3]'" in said
    with pytest.raises(StartupError, match=r"reelgate\[s3\]"):
        open_archive("s3://bucket/prefix")


def test_a_bucket_that_cannot_be_named_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the provider's own settings leave open is a problem in one line."""
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    said = problem("az://container")
    assert said is not None
    assert "az://container cannot be used" in said
    assert "\n" not in said
