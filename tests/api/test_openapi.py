"""`/openapi.json`: no route is missing, every reference leads somewhere, and what is served is that.

Whether answers are as described is for `make api-test`."""

import json
from collections.abc import Iterator
from typing import Any

from proxy.api.description import described
from tests.api.conftest import Surface

METHODS = {"get", "post", "delete", "head"}


def routes(surface: Surface) -> set[tuple[str, str]]:
    """Method and path of every route of the surface, once for those with and without `/v1`."""
    found = {(route.method, route.resource.canonical) for route in surface.app.router.routes() if route.resource}
    versioned = {path.removeprefix("/v1") for _, path in found if path.startswith("/v1/")}
    return {(method, path) for method, path in found if path not in versioned and method != "HEAD"}


def everything(node: Any) -> Iterator[Any]:
    """All objects of a document."""
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from everything(child)


async def test_every_route_is_described_and_nothing_else(surface: Surface) -> None:
    """The router's own table and the paths are the same, also below `/admin/api`."""
    paths = described()["paths"]
    told = {(method.upper(), path) for path, item in paths.items() for method in item if method in METHODS}
    assert told == routes(surface)


async def test_each_path_has_its_parameters(surface: Surface) -> None:
    """Names in braces are described, and none that is not in the path; names of operations are unlike."""
    names = []
    for path, item in described()["paths"].items():
        told = {one["name"] for one in item.get("parameters", ()) if one["in"] == "path"}
        assert told == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path
        names += [item[method]["operationId"] for method in METHODS & item.keys()]
    assert len(names) == len(set(names))


async def test_references_lead_somewhere_and_nothing_lies_about() -> None:
    """Every `$ref` is found, every component is used, and every security scheme that is named exists."""
    document = described()
    used = {node["$ref"] for node in everything(document) if isinstance(node, dict) and "$ref" in node}
    there = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in document["components"][kind]
    }
    assert used <= there
    assert {one for one in there - used if "/schemas/" in one} == set()
    schemes = document["components"]["securitySchemes"].keys()
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            for needs in item[method].get("security", ()):
                assert needs.keys() <= schemes, path


async def test_changes_by_session_say_that_they_need_the_token() -> None:
    """Each admin operation takes a session, and a changing one the token beside it."""
    for path, item in described()["paths"].items():
        for method in METHODS & item.keys() if path.startswith("/admin/") else ():
            session = {"session": []} if method == "get" else {"session": [], "csrf": []}
            assert item[method]["security"] == [{"key": []}, session], path


async def test_it_is_served_to_everybody_and_kept_by_browsers(surface: Surface) -> None:
    """Without a key; the same bytes and ETag each time, and 304 for who has them."""
    status, body, headers = await surface.call("GET", "/openapi.json", key=None)
    assert (status, body["openapi"], headers["content-type"]) == (200, "3.1.0", "application/json")
    assert body == json.loads(json.dumps(described()))
    again = {"If-None-Match": headers["etag"]}
    status, _, kept = await surface.call("GET", "/openapi.json", key=None, headers=again)
    assert (status, kept["etag"]) == (304, headers["etag"])
