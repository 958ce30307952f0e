"""A client that holds every answer of the API against the API's own description: each test of a route is a test of that."""

from __future__ import annotations

import re
from typing import Any

from fastapi.testclient import TestClient

API = "/pivotal/v1"
_KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
          "null": type(None)}  # fmt: skip


class Described(TestClient):
    """As TestClient; an answer under /pivotal/v1 that is not as described fails the test."""

    described: dict[str, Any] | None = None
    checked: int = 0

    def request(self, method: str, url: Any, **given: Any) -> Any:
        reply = super().request(method, url, **given)
        path = reply.request.url.path
        if path.startswith(API + "/"):
            self.described = self.described or self.app.openapi()
            hold_against(self.described, method, path, reply)
            self.checked += 1
        return reply


def hold_against(described: dict[str, Any], method: str, path: str, reply: Any) -> None:
    """Fails unless the reply's status, type and body are what `described` says."""
    known = sorted((one for one in described["paths"] if one.startswith(API)), key=lambda one: "{" in one)
    found = next((one for one in known if re.fullmatch(re.sub(r"{\w+}", "[^/]+", one), path)), None)
    if found is None or method.lower() not in described["paths"][found]:
        assert reply.status_code in (404, 405), (method, path, reply.status_code)
        return
    responses = described["paths"][found][method.lower()]["responses"]
    assert str(reply.status_code) in responses, f"{method} {found} answers {reply.status_code}, which is not described"
    ((media, content),) = responses[str(reply.status_code)]["content"].items()
    seen = reply.headers["content-type"].partition(";")[0]
    assert seen == media or media == "image/*" and seen.startswith("image/"), (found, seen)
    if media == "application/json":
        told = wrong(reply.json(), content["schema"], described["components"]["schemas"])
        assert not told, f"{method} {found} {reply.status_code}: {told}"


def wrong(value: Any, schema: dict[str, Any], named: dict[str, Any], at: str = "answer") -> str:
    """Where `value` is not as a schema of OpenAPI 3.0 or 3.1 says; "" where it is. Knows what our schemas use, and no more."""
    known = {"type", "properties", "required", "items", "anyOf", "enum", "additionalProperties", "description", "minItems",
             "maxItems", "nullable", "$ref", "default", "format", "title"}  # fmt: skip
    assert set(schema) <= known, f"this validator does not know {set(schema) - known}"
    if "$ref" in schema:
        return wrong(value, named[schema["$ref"].rpartition("/")[2]], named, at)
    if value is None and schema.get("nullable"):
        return ""
    if "anyOf" in schema:
        told = [wrong(value, one, named, at) for one in schema["anyOf"]]
        return "" if "" in told else " or ".join(told)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, _KINDS[kind]) and isinstance(value, bool) == (kind == "boolean") for kind in kinds):
        return f"{at} is {str(value)[:60]!r}, no {'/'.join(kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at} is {value!r}, none of {schema['enum']}"
    parts: list[tuple[Any, Any, str]] = []
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f"{at} has {len(value)} items"
        parts = [(item, schema.get("items", {}), f"{at}[{index}]") for index, item in enumerate(value)]
    elif isinstance(value, dict):
        if missing := [name for name in schema.get("required", []) if name not in value]:
            return f"{at} lacks {missing}"
        own, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        if own and not more and (extra := set(value) - set(own)) and at == "answer" and "version" not in own:
            return f"{at} has {extra}, too"
        parts = [(item, own.get(name, more if isinstance(more, dict) else {}), f"{at}.{name}") for name, item in value.items()]
    return next(filter(None, (wrong(item, within, named, where) for item, within, where in parts)), "")
