"""The API in the words of OpenAPI, put into what the host's app says of itself (``/openapi.json``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pivotal.api.fields import Field
from pivotal.api.http import OPTIONS, PREFIX, Route
from pivotal.api.shapes import Shapes, for_openapi_30
from pivotal.config.derived import json_schema
from pivotal.config.options import tables
from pivotal.config.train import TrainConfig

_MEANINGS = {
    400: "What was sent cannot be.", 401: "A name and password are needed.", 403: "The address is not of this server.",
    404: "It is not there.", 409: "Not now: something else is going on, or nothing is.", 413: "The body is too large.",
    415: "The body is not declared as JSON.", 422: "Some options need attention; each is named.",
    500: "Not foreseen; the host's log has it.", 503: "The host has no checkpoint yet.",
}
_TAG, _LOGIN, _RUN = "Pivotal", "PivotalBasic", "PivotalRun"
_ERROR = {"error?": str, "problems?": dict[str, str]}


def describe(app: Any, routes: Sequence[Route], *, is_open: bool) -> None:
    """Adds `routes` to what `app.openapi()` answers; may be called again for the same app.

    Args:
        is_open: whether nobody is asked for a password.
    """
    inner: Callable[[], dict[str, Any]] = getattr(app.openapi, "pivotal_inner", app.openapi)

    def openapi() -> dict[str, Any]:
        whole = dict(inner())
        paths, components = described(routes, is_open=is_open)
        if str(whole.get("openapi", "")).startswith("3.0"):
            paths, components = for_openapi_30(paths), for_openapi_30(components)
        theirs = whole.get("components", {})
        whole["components"] = {**theirs, **{name: {**theirs.get(name, {}), **ours} for name, ours in components.items()}}
        whole["paths"] = {**whole.get("paths", {}), **paths}
        return whole

    openapi.pivotal_inner = inner  # type: ignore[attr-defined]
    app.openapi = openapi


def described(routes: Sequence[Route], *, is_open: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """OpenAPI 3.1's paths and components of the routes."""
    shapes = Shapes()
    shapes.named["PivotalError"] = shapes.schema(_ERROR) | {"required": ["error"]}
    shapes.named[_RUN] = run_schema()
    paths: dict[str, Any] = {}
    for route in routes:
        operation = _operation(route, shapes, is_open)
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = operation
    logins = {} if is_open else {"securitySchemes": {_LOGIN: {"type": "http", "scheme": "basic"}}}
    return paths, {"schemas": shapes.named, **logins}


def run_schema() -> dict[str, Any]:
    """A run's options in the nested form of a run file, from their declarations; dotted keys are taken as well."""
    flat, rows = json_schema(TrainConfig)["properties"], {table.key for table in tables(TrainConfig)}
    properties: dict[str, Any] = {}
    for key, entry in flat.items():
        section, dot, name = key.partition(".")
        if dot and key not in rows:
            properties.setdefault(section, {"type": "object", "properties": {}})["properties"][name] = entry
        else:
            properties[key] = entry
    return {"type": "object", "properties": properties,
            "description": "A run. Each option may also be given by its dotted key, as length.steps, and as text."}


def _operation(route: Route, shapes: Shapes, is_open: bool) -> dict[str, Any]:
    words = re.sub(r"\s+", " ", (route.endpoint.__doc__ or "")).strip()
    summary, _, more = words.partition(". ")
    statuses = route.statuses if is_open else (*route.statuses, 401)
    operation: dict[str, Any] = {
        "tags": [_TAG], "summary": summary.rstrip("."), "operationId": _identifier(route),
        "parameters": [*(_parameter(field, "path") for field in route.in_path),
                       *(_parameter(field, "query") for field in route.query)],
        "responses": {"200": _content(route.media, shapes.schema(route.answers), "It went well.")} | {
            str(status): _content("application/json", {"$ref": "#/components/schemas/PivotalError"}, _MEANINGS[status])
            for status in sorted(statuses)},
    }
    if more:
        operation["description"] = more
    if route.method == "POST":
        operation["requestBody"] = {"required": bool(route.body), "content": {"application/json": {"schema": _body(route)}}}
    if not is_open:
        operation["security"] = [{_LOGIN: []}]
    return operation


def _body(route: Route) -> dict[str, Any]:
    return {"type": "object", "properties": {field.name: _schema(field) for field in route.body},
            "required": [field.name for field in route.body if field.required], "additionalProperties": not route.strict}


def _schema(field: Field) -> dict[str, Any]:
    if field is OPTIONS:
        return {"allOf": [{"$ref": f"#/components/schemas/{_RUN}"}], "description": field.help}
    return {**field.schema, "description": field.help}


def _parameter(field: Field, where: str) -> dict[str, Any]:
    return {"name": field.name, "in": where, "required": where == "path" or field.required, "description": field.help,
            "schema": dict(field.schema)}


def _content(media: str, schema: dict[str, Any], words: str) -> dict[str, Any]:
    return {"description": words, "content": {media: {"schema": schema}}}


def _identifier(route: Route) -> str:
    return "pivotal_" + re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_")
