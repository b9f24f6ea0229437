"""`reelgate plugins new` and `reelgate plugins test` beside a simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.commands import plugin_trial
from proxy.commands.plugin_new import LONGEST, written
from proxy.testing import trial

ROOT = Path(__file__).parents[2]
SECRET = "operators-own-key-4410"
FILES = ["plugins/nova_two.py", "plugin_tests/__init__.py", "plugin_tests/nova_two_simulator.py"]
FILES += ["plugin_tests/test_nova_two.py"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("REELGATE_CONFIG", "REELGATE_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def new(*words: str) -> Result:
    return CliRunner().invoke(main, ["plugins", "new", *words])


def python(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.timeout(400)
def test_what_is_written_passes_at_once(folder: Path) -> None:
    """Four files, the entry for channels.yaml, which is taken as printed, and a contract that plain pytest runs."""
    made = new("nova_two")
    assert made.stdout.splitlines() == FILES
    entry = made.stderr[made.stderr.index("channels:") : made.stderr.index("\n\nWhether")]
    (folder / "channels.yaml").write_text(entry)
    check = CliRunner(env={"NOVA_TWO_KEY": SECRET}).invoke(main, ["check"])
    assert check.stdout == "channels.yaml: all is well, 1 channel, 1 model\n"
    done = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
    assert not (folder / "plugins" / "__pycache__").exists()


@pytest.mark.timeout(400)
def test_a_broken_law_is_told_in_its_own_words(folder: Path) -> None:
    """A sabotaged plugin fails, with the law and what is wrong; with the operator's own entry the key is not shown."""
    new("nova_two")
    plugin = folder / "plugins" / "nova_two.py"
    text = plugin.read_text("utf-8")
    fetch = 'return told(await self.upstream.get(f"/v1/tasks/{job.id}"))'
    assert text.count('"running": "in_progress"') == text.count(fetch) == 1
    leak = f"try:\n            {fetch}\n        except ApiError:\n            raise ValueError(self.options.api_key)"
    plugin.write_text(text.replace('"running": "in_progress"', '"running": "failed"').replace(fetch, leak))
    entry = "{name: mine, type: nova_two, api_key: '${MY_KEY}', weight: 3}"
    (folder / "channels.yaml").write_text(f"channels:\n- {entry}\n")
    test = ("-m", "proxy", "plugins", "test", "plugins/nova_two.py")
    # What the environment has for other runs of pytest changes nothing.
    others = {"PYTEST_ADDOPTS": "--no-such-option", "PYTEST_PLUGINS": "no_such_module"}
    done = python(folder, *test, "--law", "state", "--channel", "mine", "--trace", MY_KEY=SECRET, **others)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert "FAIL  Each state of the provider's gives the status that the fact sheet says." in lines
    assert "      'running': failed, should be in_progress" in lines
    assert SECRET not in done.stdout + done.stderr
    assert "raised ValueError: [secret]" in done.stdout
    assert "0 kept, 2 broken" in done.stderr
    # Beside a simulator alone, its own words are the states; and a copy from channels.yaml leads to no provider.
    simulator = "plugin_tests/nova_two_simulator.py:NovaTwoSimulator"
    copy = "{name: mine, type: mine, base_url: 'http://127.0.0.1:9', api_key: k, models: [nova_two-1]}"
    done = python(folder, *test, "--law", "each state", "--simulator", simulator, "--entry", copy)
    assert "'running': failed, should be in_progress" in done.stdout
    assert done.returncode == 1


def test_names_that_cannot_be(folder: Path) -> None:
    """What is no name of a file, class or type is refused, as is a plugin that is there, unless it is meant."""
    for name in ("Nova", "9a", "_a", "a-b", "a b", "../a", "a__b", "a" * (LONGEST + 1), ""):
        assert "cannot be a plugin's name" in new(name).stderr, name
    for name in ("class", "true", "off", "none", "test_a", "conftest", "channel", "reply"):
        assert "means something else" in new(name).stderr, name
    taken = new("kling")
    assert (taken.exit_code, "kling.py" in taken.stderr, "--override" in taken.stderr) == (1, True, True)
    assert list(folder.iterdir()) == []
    assert new("kling", "--override").exit_code == 0
    assert "kling  (" in CliRunner().invoke(main, ["plugins", "show", "kling"]).stdout


def test_nothing_is_written_over(folder: Path) -> None:
    """A file that is there stays as it is, and then nothing is written; what cannot be written is one sentence."""
    (folder / "mine" / "plugin_tests").mkdir(parents=True)
    kept = folder / "mine" / "plugin_tests" / "test_nova.py"
    kept.write_text("mine")
    result = new("nova", "--into", "mine")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert str(Path("mine/plugin_tests/test_nova.py")) in result.stderr
    assert [file for file in (folder / "mine").rglob("*") if file.is_file()] == [kept]
    kept.unlink()
    kept.symlink_to(folder / "nowhere")
    assert "there already" in new("nova", "--into", "mine").stderr
    (folder / "file").touch()
    assert new("nova", "--into", "file/there").stderr.count("\n") == 1
    # What cannot be written whole is not there by half, so that the next try finds nothing in its way.
    (folder / "half").mkdir()
    (folder / "half" / "plugin_tests").touch()
    assert new("nova", "--into", "half").exit_code == 1
    assert [file.name for file in (folder / "half").rglob("*") if file.is_file()] == ["plugin_tests"]
    assert "test 'a folder/plugins/nova.py'" in new("nova", "--into", "a folder").stderr
    # A second plugin shares the folder of the first one's tests.
    assert new("nova").exit_code == new("comet").exit_code == 0


def test_a_plugin_without_a_simulator_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing for a trial is said, where it was looked for and what to do."""
    (folder / "plugins").mkdir()
    plugin = folder / "plugins" / "lumen.py"
    plugin.write_text((ROOT / "docs" / "examples" / "lumen.py").read_text("utf-8"))
    done = python(folder, "-m", "proxy", "plugins", "test", str(plugin))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "--simulator" in done.stderr
    monkeypatch.setattr(plugin_trial, "TOOLS", ("no_such_tool",))
    bare = CliRunner().invoke(main, ["plugins", "test", str(plugin)])
    assert (bare.exit_code, bare.stderr.count("\n")) == (1, 1)
    assert "pip install 'reelgate[test]'" in bare.stderr


def test_what_cannot_be_tried_is_one_sentence(folder: Path) -> None:
    """A file that is no plugin, a type or a key of an entry that there is not, tests that end the program."""
    assert new("nova").exit_code == 0
    plugin = folder / "plugins" / "nova.py"
    helper = plugin.with_name("_nova.py")
    helper.touch()
    for words, said in (
        ((str(helper),), "is no plugin"),
        ((str(plugin), "--type", "comet"), "no plugin of the type 'comet'"),
        ((str(plugin), "--entry", "{colour: red}"), "--entry: colour"),
        ((str(plugin), "--live", "--yes", "-o", "no/film.mp4"), "there is no such folder"),
    ):
        result = CliRunner(env={"NOVA_KEY": SECRET}).invoke(main, ["plugins", "test", *words])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
        assert said in result.stderr
    (folder / "plugin_tests" / "test_nova.py").write_text("raise SystemExit(0)")
    with pytest.raises(trial.NotTried, match="cannot be imported: SystemExit"):
        trial.contract_of(plugin, "nova", None, None)


def test_the_longest_name_breaks_no_line() -> None:
    """What is written keeps to 120 columns and the house's order whatever it is called; nothing of Nova is left."""
    for place, text in written("x" * LONGEST):
        assert max(map(len, text.splitlines())) <= 120, place
        assert "nova" not in text.lower()
