"""nginx and Caddy as `deploy/` sets them up: other ports and another certificate, and all else as shipped."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
HOST = "video.example.com"


def replaced(text: str, changes: dict[str, str]) -> str:
    """`text` with every one of the `changes`, each of which must find something to change."""
    for old, new in changes.items():
        assert old in text, f"the shipped file has no {old!r} any more"
        text = text.replace(old, new)
    return text


class Front:
    """A proxy before the Reelgate on the port `behind`: it listens with TLS on `port`, and writes below `folder`."""

    name = ""

    def __init__(self, folder: Path, behind: int) -> None:
        self.folder = folder
        self.port, self.plain = _free(), _free()
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            (
                *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-days", "2"),
                *("-keyout", self.key, "-out", self.certificate),
            ),
            check=True,
            capture_output=True,
        )
        self.log = folder / "access.log"
        words = self.prepare(behind)
        environ = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": str(folder)}
        self._said = (folder / "said").open("wb")
        self._process = subprocess.Popen(words, env=environ, stdout=self._said, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while not _listens(self.port):
            assert self._process.poll() is None, (folder / "said").read_text()
            assert time.monotonic() < deadline, (folder / "said").read_text()
            time.sleep(0.05)

    def prepare(self, behind: int) -> tuple[str, ...]:
        """Write what it needs; the command that runs it."""
        raise NotImplementedError

    def close(self) -> None:
        """End it; closing twice is fine."""
        self._process.terminate()
        self._process.wait(30)
        self._said.close()

    def processes(self) -> list[str]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [str(self._process.pid), *children]

    def peak(self) -> int:
        """Bytes of memory that its processes have had at most, added up."""
        return sum(_peak(pid) for pid in self.processes())

    def spooled(self) -> int:
        """Bytes in files that it has open and that have no name any more, as temporary files have none."""
        found = [handle for pid in self.processes() for handle in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(handle.stat().st_size for handle in found if str(handle.readlink()).endswith(" (deleted)"))


class Nginx(Front):
    name = "nginx"

    def prepare(self, behind: int) -> tuple[str, ...]:
        text = replaced(
            (DEPLOY / "nginx.conf").read_text("utf-8"),
            {
                "127.0.0.1:8080": f"127.0.0.1:{behind}",
                "    listen [::]:443 ssl;\n": "",
                "    listen [::]:80;\n": "",
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "listen 80": f"listen 127.0.0.1:{self.plain}",
                f"/etc/letsencrypt/live/{HOST}/fullchain.pem": str(self.certificate),
                f"/etc/letsencrypt/live/{HOST}/privkey.pem": str(self.key),
                "/var/log/nginx/reelgate.log": str(self.log),
            },
        )
        (self.folder / "reelgate.conf").write_text(text, "utf-8")
        temporary = "".join(
            f"    {kind}_temp_path {self.folder / 'temporary'};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = self.folder / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        whole.write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {self.folder / 'pid'};\nerror_log stderr;\n"
            f"events {{}}\nhttp {{\n{temporary}    include {self.folder / 'reelgate.conf'};\n}}\n",
            "utf-8",
        )
        return ("nginx", "-c", str(whole), "-p", str(self.folder))


class Caddy(Front):
    name = "caddy"

    def prepare(self, behind: int) -> tuple[str, ...]:
        text = replaced(
            (DEPLOY / "Caddyfile").read_text("utf-8"),
            {
                "127.0.0.1:8080": f"127.0.0.1:{behind}",
                # A certificate of our own, and a log, so that a test can see that nothing else is written.
                f"\n{HOST} {{": f"\n{HOST}:{self.port} {{\n\ttls {self.certificate} {self.key}\n\tbind 127.0.0.1\n",
            },
        )
        options = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\thttp_port {self.plain}\n}}\n"
        file = self.folder / "Caddyfile"
        file.write_text(options + text, "utf-8")
        return ("caddy", "run", "--adapter", "caddyfile", "--config", str(file))


FRONTS: tuple[type[Front], ...] = (Nginx, Caddy)


def here(front: type[Front]) -> bool:
    """Whether the machine has the program."""
    return shutil.which(front.name, path=f"{os.environ['PATH']}:/usr/sbin") is not None


def _listens(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


def _free() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _peak(pid: str) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
