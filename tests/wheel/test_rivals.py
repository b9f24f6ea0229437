"""Another distribution that owns a package `proxy`, installed before and after ours, and a folder of that name."""

from __future__ import annotations

from pathlib import Path

from tests.wheel.conftest import Layer, done

BRINGS = "the distribution proxy.py brings an import package `proxy` too, and whichever of the two is removed"


def test_another_package_over_ours_is_told_in_a_sentence(
    wheel: Path, rival: Path, layer: Layer, tmp_path: Path
) -> None:
    """Nothing of it is run, though its `proxy/__init__.py` stands in the place of ours: every command says whose it is
    and ends with 1."""
    environment = layer(wheel, rival)
    for words in (["check"], ["serve", "--port", "0"], ["--version"]):
        result = done(environment.command, *words, cwd=tmp_path, code=1)
        assert result.stdout == ""
        assert result.stderr == (
            "the distribution proxy.py has written its package `proxy` over Reelgate's (proxy/__init__.py and 1 more): "
            "give reelgate a virtual environment of its own\n"
        )
    assert done(environment.python, "-m", "reelgate", "check", cwd=tmp_path, code=1).stderr == result.stderr


def test_another_package_under_ours_is_a_warning(wheel: Path, rival: Path, layer: Layer, tmp_path: Path) -> None:
    """Ours works, and says at check and at the start what will happen; when it has happened, it says that too."""
    environment = layer(rival, wheel)
    assert done(environment.command, "check", cwd=tmp_path).stdout.startswith(f"warning: {BRINGS}")
    for words in ([environment.command], [environment.python, "-m", "proxy"]):
        assert f"warning: {BRINGS}" in done(*words, "serve", "--host", "a..b", cwd=tmp_path, code=1).stderr
    environment.pip("uninstall", "--yes", "proxy.py")
    assert done(environment.command, "check", cwd=tmp_path, code=1).stderr == (
        "the package `proxy` of Reelgate is not there: install its wheel anew, with pip's --force-reinstall\n"
    )
    environment.pip("install", "--no-deps", "--no-index", "--force-reinstall", wheel)
    assert "warning: the distribution" not in done(environment.command, "check", cwd=tmp_path).stdout


def test_a_folder_called_proxy_is_told_where_it_stands_in_the_way(wheel: Path, layer: Layer, tmp_path: Path) -> None:
    """The command does not mind the folder that it is run in; where Python looks there first, it says so."""
    environment = layer(wheel)
    (tmp_path / "proxy").mkdir()
    # A folder without __init__.py gives way to ours.
    done(environment.python, "-m", "proxy", "check", cwd=tmp_path)
    (tmp_path / "proxy" / "__init__.py").write_text("raise RuntimeError('the other proxy was run')\n")
    done(environment.command, "check", cwd=tmp_path)
    for words, environ in (([environment.python, "-m", "reelgate"], {}), ([environment.command], {"PYTHONPATH": "."})):
        said = done(*words, "check", cwd=tmp_path, code=1, **environ).stderr
        assert said.count("\n") == 1
        assert "proxy stands before Reelgate's package `proxy` and is not Reelgate's: start from another folder" in said
