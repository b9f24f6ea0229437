"""Dockerfile and compose file: linted, and what they start run as they would run it, without Docker: as their user,
without a capability, on a root that is read-only."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, ClientTimeout

from proxy.serve import GRACE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICE: dict[str, Any] = COMPOSE["services"]["reelgate"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
NEEDED = {"pyproject.toml", PROJECT["project"]["readme"], *WHEEL["only-include"], *WHEEL["force-include"]}
"""What the wheel is built of."""
KEY = "rg_container-test-admin-key-0123456789"


def words(instruction: str) -> list[str]:
    """The list that the last `instruction` of the Dockerfile has."""
    found: list[str] = json.loads(re.findall(rf"^ *{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1])
    return found


# ---------------------------------------------------------------- linted


def test_the_dockerfile_is_linted() -> None:
    """hadolint has nothing to say."""
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("there is no hadolint here")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_is_one() -> None:
    """Every key and value of it is one of the Compose specification."""
    specification = pytest.importorskip("compose_spec")
    read = specification.PyCompose.from_yaml((DEPLOY / "compose.yaml").read_text("utf-8"))
    assert list(read.to_spec().services) == ["reelgate"]
    with pytest.raises(ValueError):
        specification.PyCompose.from_yaml("services: {reelgate: {image: reelgate, read_only: [data]}}").to_spec()


def test_the_two_say_the_same() -> None:
    """The volume, the port and the config folder are the image's; nothing is privileged; a stop gets its time."""
    assert {"data:/data", "./config:/etc/reelgate:ro"} == set(SERVICE["volumes"])
    assert "VOLUME /data" in DOCKERFILE
    assert "REELGATE_DATA=/data" in DOCKERFILE
    assert "WORKDIR /etc/reelgate" in DOCKERFILE
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert SERVICE["ports"] == ["127.0.0.1:8080:8080"]
    assert words("CMD") == ["serve", "--host", "0.0.0.0", "--port", "8080"]
    assert (SERVICE["read_only"], SERVICE["cap_drop"]) == (True, ["ALL"])
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert int(SERVICE["stop_grace_period"].removesuffix("s")) > GRACE
    assert (ROOT / "deploy" / SERVICE["build"]["context"] / SERVICE["build"]["dockerfile"]).samefile(
        DEPLOY / "Dockerfile"
    )


def test_nothing_private_reaches_the_image() -> None:
    """The build sees what is named, and no data folder, no channels.yaml and no environment beside it."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == NEEDED
    copied = " ".join(re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)).split()
    assert set(copied) == NEEDED


def test_the_wheel_is_built_of_what_the_build_sees(tmp_path: Path) -> None:
    """With those files alone, pip makes the wheel as the Dockerfile does, plugins and all."""
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, tmp_path / name)
    (line,) = re.findall(r"^RUN python -m pip (wheel .*) \\$", DOCKERFILE, re.MULTILINE)
    built = [word.replace("/wheel", str(tmp_path / "wheel")) for word in line.split() if word != "."]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *built, str(tmp_path)], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheel").glob("reelgate-*.whl")
    with zipfile.ZipFile(wheel) as inside:
        assert {"proxy/cli.py", "proxy/_plugins/demo.py", "reelgate.py"} <= set(inside.namelist())


# ---------------------------------------------------------------- run

SANDBOX = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/data /mnt/etc
mkdir /mnt/tmp
mount -t tmpfs -o mode=1777,size=64m tmpfs /mnt/tmp
mount --bind "$DATA" /mnt/data
cp "$CONFIG" /mnt/etc/channels.yaml
mount -o remount,bind,ro /
cd /mnt/etc
exec "$@"
"""
UNPRIVILEGED = ("--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs")
PRIVATE = "dac_read_search"


@pytest.fixture
def jail(tmp_path: Path) -> tuple[str, ...]:
    """The words before a command that run it as the image's user on a root that is read-only, but for /mnt/data and
    /mnt/tmp."""
    if os.geteuid() != 0 or not all(shutil.which(one) for one in ("unshare", "setpriv", "mount")):
        pytest.skip("only root can make a namespace with another user here")
    if subprocess.run(["unshare", "--mount", "mount", "--make-rprivate", "/"], capture_output=True).returncode != 0:
        pytest.skip("this machine does not let even root make a mount namespace")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 10001, 10001)
    (tmp_path / "channels.yaml").write_text("channels: [{name: demo, type: demo}]\n")
    # An interpreter in root's own home can be read only so; writing stays as impossible as without.
    hidden = any(not parent.stat().st_mode & 0o001 for parent in Path(sys.base_prefix).resolve().parents)
    capabilities = f"-all,+{PRIVATE}" if hidden else "-all"
    return (
        *("unshare", "--mount", "sh", "-c", SANDBOX, "sh", "setpriv", *UNPRIVILEGED),
        *(f"--bounding-set={capabilities}", f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"),
    )


async def test_it_runs_without_rights_on_a_read_only_root(jail: tuple[str, ...], tmp_path: Path) -> None:
    """The image's command as its user makes a video and a thumbnail, is healthy by the image's own check, backs itself
    up and stops, where nothing can be written but the volume and the temporary folder."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": "/mnt/tmp",
        "REELGATE_DATA": "/mnt/data",
        "REELGATE_ADMIN_KEY": KEY,
        "DATA": str(tmp_path / "data"),
        "CONFIG": str(tmp_path / "channels.yaml"),
    }
    product = (*jail, sys.executable, "-m", "proxy")
    assert words("ENTRYPOINT") == ["reelgate"]
    command = [{"0.0.0.0": "127.0.0.1", "8080": "0"}.get(word, word) for word in words("CMD")]
    server = await asyncio.create_subprocess_exec(
        *product, *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert server.stdout is not None
    output = ""
    try:
        async with asyncio.timeout(90):
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/v1", output)):
                line = await server.stdout.readline()
                assert line, output
                output += line.decode()
            reading = asyncio.create_task(server.stdout.read())
            async with ClientSession(headers={"Authorization": f"Bearer {KEY}"}, timeout=ClientTimeout(60)) as session:
                async with session.post(f"{found[0]}/videos", json={"prompt": "a paper plane"}) as response:
                    video = await response.json()
                while video["status"] not in ("completed", "failed"):
                    await asyncio.sleep(0.2)
                    async with session.get(f"{found[0]}/videos/{video['id']}") as response:
                        video = await response.json()
                assert video["status"] == "completed", video
                async with session.get(f"{found[0]}/videos/{video['id']}/content") as response:
                    assert (await response.read())[4:8] == b"ftyp"
                async with session.get(f"{found[0]}/videos/{video['id']}/content?variant=thumbnail") as response:
                    assert response.content_type.startswith("image/")
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE)
            assert "NoNewPrivs:\t1" in status
            health = json.loads(re.findall(r"HEALTHCHECK.*\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[0])
            healthy = [sys.executable, *(word.replace("8080", found[1]) for word in health[1:])]
            assert await asyncio.to_thread(lambda: subprocess.run(healthy).returncode) == 0
            backup = await asyncio.create_subprocess_exec(
                *product, "backup", "/mnt/data/backup.tar", env=environ, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await backup.communicate()
            assert backup.returncode == 0, out
            touch = await asyncio.create_subprocess_exec(
                *jail, "touch", str(ROOT / "written"), env=environ, stderr=asyncio.subprocess.PIPE
            )
            _, refused = await touch.communicate()
            assert touch.returncode != 0
            assert re.search(rb"Read-only|Permission", refused)
            server.terminate()
            await reading
            assert await server.wait() == 0
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()
