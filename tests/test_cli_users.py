"""`reelgate users`: what newcomers do, scripts read and operators undo."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.accounts.users import Users
from proxy.cli import main
from proxy.records import User
from proxy.store import Store

GENERATED = re.compile(r"[A-Za-z0-9]{20}\n")
ROOT = Path(__file__).parent.parent

Shell = Callable[..., Result]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command in a folder of its own, without a terminal."""
    for name in [name for name in os.environ if name.startswith("REELGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "channels.yaml").write_text("channels: []\n")

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, words, prog_name="reelgate")
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return run


def is_password(name: str, password: str) -> bool:
    async def look() -> bool:
        store = await Store.open(Path("data/reelgate.db"))
        try:
            users = Users(store)
            return await users.verify(await users.find(name), password)
        finally:
            await store.close()

    return asyncio.run(look())


def user(name: str) -> User:
    async def look() -> User:
        store = await Store.open(Path("data/reelgate.db"))
        try:
            found = await Users(store).find(name)
            assert found is not None
            return found
        finally:
            await store.close()

    return asyncio.run(look())


def test_a_user_with_a_password_of_ones_own(shell: Shell) -> None:
    """A member, unless it is said otherwise; nothing is on stdout, and the password is nowhere."""
    made = shell("users", "create", "bob", "--password", "correct horse")
    assert made.stdout == ""
    assert "User bob (user_" in made.stderr
    assert "correct horse" not in made.stderr
    assert is_password("bob", "correct horse")
    assert user("bob").role == "member"
    shell("users", "create", "eve", "--password", "correct horse", "--role", "admin")
    assert user("eve").role == "admin"


def test_without_a_terminal_a_password_is_made(shell: Shell) -> None:
    """It is alone on stdout, so that a script can take it, and differs each time. The user `admin` is one."""
    passwords = {name: shell("users", "create", name).stdout for name in ("bob", "admin")}
    assert all(GENERATED.fullmatch(one) for one in passwords.values())
    assert passwords["bob"] != passwords["admin"]
    assert all(is_password(name, one.strip()) for name, one in passwords.items())
    assert (user("admin").role, user("admin").tenant) == ("admin", "admin")


def test_a_terminal_is_asked_and_hears_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a terminal the password is typed twice and not shown; its hash is argon2id at full cost."""
    (tmp_path / "channels.yaml").write_text("channels: []\n")
    terminal, end = pty.openpty()
    words = [sys.executable, "-m", "proxy", "users", "create", "bob"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, cwd=tmp_path, env=environ, stdin=end, stdout=subprocess.PIPE, stderr=end, start_new_session=True
    ) as child:
        os.close(end)
        shown = b""
        for question in (b"Password: ", b"Once more: "):
            while not shown.endswith(question):
                shown += os.read(terminal, 1000)
            os.write(terminal, b"typed by hand\n")
        assert child.stdout is not None
        assert child.stdout.read() == b""
        assert child.wait() == 0
    shown += os.read(terminal, 1000)
    os.close(terminal)
    assert b"typed by hand" not in shown
    assert b"User bob" in shown
    monkeypatch.chdir(tmp_path)
    assert user("bob").password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert is_password("bob", "typed by hand")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "bob", "--password", "short"), "at least 8 characters"),
        (("create", "bob", "--password", ""), "at least 8 characters"),
        (("create", "a b", "--password", "correct horse"), "1 to 64 letters"),
        (("create", "../x", "--password", "correct horse"), "1 to 64 letters"),
    ],
)
def test_what_cannot_be_makes_no_store(shell: Shell, words: tuple[str, ...], said: str) -> None:
    """One sentence, exit 1, and nothing is made."""
    refused = shell("users", *words, code=1)
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""
    assert not Path("data").exists()


def test_a_name_that_is_taken(shell: Shell) -> None:
    """In whatever case, the first user stays as it is."""
    shell("users", "create", "bob", "--password", "correct horse")
    assert "'BOB' already" in shell("users", "create", "BOB", "--password", "another password", code=1).stderr
    assert is_password("bob", "correct horse")


def test_passwd_sets_another_password(shell: Shell) -> None:
    """The one before is wrong then; an unknown user is told so before anybody types a password."""
    shell("users", "create", "bob", "--password", "correct horse")
    assert shell("users", "passwd", "BOB", "--password", "another password").stdout == ""
    assert not is_password("bob", "correct horse")
    assert is_password("bob", "another password")
    made = shell("users", "passwd", "bob").stdout
    assert GENERATED.fullmatch(made)
    assert is_password("bob", made.strip())
    unknown = shell("users", "passwd", "eve", code=1)
    assert (unknown.stdout, unknown.stderr) == ("", "there is no user 'eve'; see reelgate users list\n")


def test_disable_and_enable(shell: Shell) -> None:
    """Who is disabled cannot log in until it is enabled; its keys are refused meanwhile; the last admin stays."""
    for name in ("bob", "admin"):
        shell("users", "create", name, "--password", "correct horse")
    shell("keys", "create", "phone", "--user", "bob")
    assert "its API keys are refused" in shell("users", "disable", "bob").stderr
    assert not is_password("bob", "correct horse")
    assert "cannot log in before" in shell("users", "passwd", "bob", "--password", "another password").stderr
    shell("users", "enable", "bob")
    assert is_password("bob", "another password")
    assert "only admin who can log in" in shell("users", "disable", "admin", code=1).stderr
    assert is_password("admin", "correct horse")
    assert "there is no user" in shell("users", "enable", "eve", code=1).stderr


def test_a_key_of_a_user_shares_with_the_user(shell: Shell) -> None:
    """In whatever case its owner is written; that of `admin` shares with the admin key."""
    for name in ("Bob", "admin"):
        shell("users", "create", name)
    for name in ("bob", "ADMIN", "nobody"):
        shell("keys", "create", f"of-{name}", "--user", name)
    rows = [row.split() for row in shell("keys", "list").stdout.splitlines()[1:]]
    assert [row[2] for row in rows] == ["user_Bob", "admin", "user_nobody"]


def test_list_shows_the_users(shell: Shell) -> None:
    """Names, roles, tenants and times; no hash. Without a store it says so."""
    assert "there is no store" in shell("users", "list", code=1).stderr
    for name in ("bob", "admin"):
        shell("users", "create", name, "--password", "correct horse")
    shell("users", "disable", "bob")
    head, bob, admin = shell("users", "list").stdout.splitlines()
    assert head.split()[:3] == ["NAME", "ROLE", "TENANT"]
    assert bob.split()[:3] == ["bob", "member", "user_bob"]
    assert bob.endswith("Z")
    assert admin.split()[:3] == ["admin", "admin", "admin"]
    assert admin.endswith("-")
    assert "argon2" not in bob + admin
