"""A site in which much has happened: what the tests visit and the screenshots show."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from proxy.ids import Sequence as Ids
from tests.browser.server import PASSWORD, Server
from tests.browser.upstream import ENDLESS, FALLS, LOST, Upstream

SAID: Final = "The model ran out of memory at frame 61. Try fewer seconds."
DAY: Final = 86_400

_LAND, _TALL = "1280x720", "720x1280"
_FILMS: Final[Sequence[tuple[str, str, str, str, int]]] = (
    ("admin", "sora-2", _LAND, "A city skyline at night in the rain, neon on wet streets, a slow tracking shot", 4),
    ("admin", "sora-2", _LAND, "Waves roll in at sunset, a lighthouse blinks in the distance, calm and wide", 4),
    ("admin", "sora-2-pro", _TALL, "A red fox runs through fresh snow between birch trees, close to the ground", 2),
    ("mei", "sora-2", _LAND, "Cherry blossoms drift over a quiet temple garden at dawn", 4),
    ("mei", "sora-2", _TALL, "竹林里的晨雾，阳光穿过竹叶，镜头缓缓推进", 2),
    ("jonas", "sora-2", _LAND, "Desert dunes at dusk, a caravan far away, heat in the air", 2),
    ("admin", "sora-2", _LAND, "A paper plane glides through a bright office, the camera follows smoothly", 4),
)
_REMIX: Final = "The same street at dawn: the rain has stopped, the neon is off, first light on the glass"
_FAILS: Final = "A glass whale swims through a cathedral, light breaks in its body"
_WORKS: Final = f"A {ENDLESS} dances over a harbour full of sails, seen from the pier"
_DOUBT: Final = f"A hundred paper {LOST}s rise from a mountain village at night"


def channels(upstream: str, models: Sequence[str], fps: int) -> str:
    """The channels.yaml: the demo with prices, and the stand-in for a provider, which also takes webhooks."""
    demo = {"seconds": [2, 4, 8], "sizes": [_LAND, _TALL, "320x180"]}
    document = {
        "server": {"unknown_grace": 86_400, "webhook_hosts": [upstream.removeprefix("http://")]},
        "channels": [
            {
                "name": "demo",
                "type": "demo",
                "fps": fps,
                "models": {name: {"upstream": name, **demo} for name in ("sora-2", "sora-2-pro")},
                "price": {"per_second": 0.1},
                "max_running": 4,
                "poll_every": 0.1,
            },
            {
                "name": "north",
                "type": "openai",
                "base_url": upstream,
                "api_key": "sk-secret-of-north",
                "models": {name: name for name in models},
                "price": {"per_second": 0.4},
                "poll_every": 0.2,
            },
        ],
    }
    # JSON is YAML too.
    return json.dumps(document, ensure_ascii=False)


class World:
    """The server, a provider, and what the users made. `models` are those of the provider, whose errors say `said`;
    `fps` are the frames per second of the demo's films."""

    def __init__(self, folder: Path, *, models: Sequence[str] = ("cinema-3",), said: str = SAID, fps: int = 24) -> None:
        self.upstream = Upstream(said)
        self.server = Server(folder, channels(self.upstream.url, models, fps))
        self._known = {"admin"}
        self.places: dict[str, str] = {}
        """What the seeds are called -> their ids."""
        try:
            self._settle(models[0])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.server.stop()
        self.upstream.stop()

    def known(self, name: str, role: str = "member") -> None:
        """Make the user where there is none."""
        if name not in self._known:
            self._known.add(name)
            self.places[name] = self.server.user(name, role)

    def finished(self, key: str, video: str) -> Mapping[str, Any]:
        """Wait for the end of a video."""
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            found: Mapping[str, Any] = self.server.call("GET", f"/v1/videos/{video}", key=key)
            if found["status"] in ("completed", "failed"):
                return found
            time.sleep(0.05)
        raise AssertionError(self.server.log)

    # ---------------------------------------------------------------- how it came to be

    def _settle(self, model: str) -> None:
        server, places = self.server, self.places
        self.known("mei")
        self.known("jonas")
        self.known("lena", "admin")
        self.known("oskar")
        server.call("POST", f"/admin/api/users/{places['oskar']}", disabled=True)
        keys = {
            "admin": server.key("Storyboard tool", "admin", budget={"value": 60, "period": "month"}),
            "mei": server.key("Mei's notebook", "mei", budget={"value": 25, "period": "month"}, max_running=3),
            "jonas": server.key("Nightly batch", "jonas", requests_per_minute=30, allowed_models=["sora-2"]),
        }
        server.key("Trade fair", "lena", expires_at=int(time.time()) + 20 * DAY, allowed_addresses=["10.0.0.0/8"])
        old = server.call("POST", "/admin/api/keys", name="Old phone app", user="jonas")
        server.call("DELETE", f"/admin/api/keys/{old['id']}")
        listed = server.call("GET", "/admin/api/keys")["data"]
        places["key"] = next(key["id"] for key in listed if key["name"] == "Storyboard tool")
        self._hooks(keys["admin"])
        for name in ("mei", "jonas", "lena"):
            server.log_in(name)
        made = [(owner, server.make(keys[owner], prompt, model=name, size=size, seconds=str(seconds)))
                for owner, name, size, prompt, seconds in _FILMS]  # fmt: skip
        failed = server.make(keys["admin"], _FAILS, model=model, size=_LAND, seconds="8")
        places["failed"] = failed
        for owner, video in (*made, ("admin", failed)):
            self.finished(keys[owner], video)
        source = made[0][1]
        remix = server.call("POST", f"/v1/videos/{source}/remix", key=keys["admin"], prompt=_REMIX)["id"]
        self.finished(keys["admin"], remix)
        places["video"], places["foreign"] = source, made[3][1]
        self._age([video for _, video in made] + [failed, remix])
        places["running"] = server.make(keys["admin"], _WORKS, model=model, size=_LAND, seconds="8")
        places["doubt"] = server.make(keys["mei"], _DOUBT, model=model, size=_LAND, seconds="4")

    def _hooks(self, key: str) -> None:
        for name, path in (("Editing suite", "/hooks/videos"), ("Chat bot", FALLS)):
            fields = {"name": name, "url": self.upstream.url + path, "event_types": ["video.completed", "video.failed"]}
            self.places[name] = self.server.call("POST", "/v1/webhook_endpoints", key=key, **fields)["id"]

    def _age(self, videos: Sequence[str]) -> None:
        """Let the last four weeks have happened: older videos are made from what was just made."""
        chance = random.Random(7)
        now = time.time()
        with self.server.store() as db:
            made = [db.execute("SELECT * FROM videos WHERE id = ?", (video,)).fetchone() for video in videos]
            for day in range(28, 0, -1):
                busy = 1 if (int(now / DAY) - day + 4) % 7 in (0, 6) else 3
                for _ in range(chance.randint(busy, 2 * busy)):
                    at = (int(now / DAY) - day) * DAY + chance.randint(8 * 3600, 20 * 3600)
                    _copy(db, chance.choice(made), at, long=chance.choice((1, 2, 3, 4)))


def _copy(db: sqlite3.Connection, row: sqlite3.Row, at: float, *, long: int) -> None:
    """The same video at another time, `long` times as dear."""
    ids = Ids(lambda: int(at * 1e9))
    video, attempt = ids.next("video"), ids.next("att")
    shift = row["created_at"] - int(at)
    moved = {name: row[name] - shift for name in ("created_at", "completed_at", "changed_at") if row[name] is not None}
    dear = {name: row[name] * long for name in ("price", "cost") if row[name] is not None}
    _insert(db, "videos", dict(row) | moved | dear | {"id": video, "attempt_id": attempt, "source_id": None,
                                                      "kind": "create"})  # fmt: skip
    for one in db.execute("SELECT * FROM attempts WHERE video_id = ?", (row["id"],)).fetchall():
        times = {"started_at": one["started_at"] - shift, "ended_at": one["ended_at"] and one["ended_at"] - shift}
        _insert(db, "attempts", dict(one) | times | {"id": attempt, "video_id": video})
    for one in db.execute("SELECT * FROM ledger WHERE video_id = ?", (row["id"],)).fetchall():
        entry = {"at": one["at"] - shift, "reserved_at": one["reserved_at"] - shift, "amount": one["amount"] * long}
        _insert(db, "ledger", dict(one) | entry | {"seq": None, "video_id": video})


def _insert(db: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    names, places = ", ".join(row), ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(row.values()))


def pages(places: Mapping[str, str]) -> dict[str, str]:
    """Every page of the dashboard by its name, with the ids of the seeds."""
    return {
        "login": "/login",
        "studio": "/dashboard",
        "videos": "/dashboard/videos",
        "video": f"/dashboard/videos/{places['video']}",
        "video-failed": f"/dashboard/videos/{places['failed']}",
        "usage": "/dashboard/usage",
        "keys": "/dashboard/keys",
        "key": f"/dashboard/keys/{places['key']}",
        "key-new": "/dashboard/keys/new",
        "webhooks": "/dashboard/webhooks",
        "webhook": f"/dashboard/webhooks/{places['Editing suite']}",
        "webhook-new": "/dashboard/webhooks/new",
        "unknown": "/dashboard/unknown",
        "channels": "/dashboard/channels",
        "users": "/dashboard/users",
        "user": f"/dashboard/users/{places['mei']}",
        "user-new": "/dashboard/users/new",
        "audit": "/dashboard/audit",
        "account": "/dashboard/account",
    }


__all__ = ["PASSWORD", "World", "pages"]
