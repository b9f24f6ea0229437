"""`reelgate check` and the archive."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from proxy.cli import main

CHANNELS = "channels:\n- {name: a, type: openai, base_url: 'http://127.0.0.1:9', api_key: k, models: [sora-2]}\n"


def test_an_archive_that_cannot_be_used_is_a_mistake(tmp_path: Path) -> None:
    """A folder that cannot be written is told with file and key; one that can be is well, and is not made yet."""
    file = tmp_path / "channels.yaml"
    (tmp_path / "taken").touch()
    for folder, code in (("taken", 1), ("free", 0)):
        file.write_text(f"server: {{archive: {folder}}}\n{CHANNELS}", "utf-8")
        words = ["--config", str(file), "--data", str(tmp_path / "data"), "check"]
        result = CliRunner().invoke(main, words, prog_name="reelgate")
        assert result.exit_code == code, result.output
        said = f"{file}: server.archive: {tmp_path / folder} must be a folder that can be written; name another one"
        assert (said in result.output) == (code == 1)
    assert not (tmp_path / "free").exists()
