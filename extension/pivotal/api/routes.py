"""The HTTP API under ``/pivotal/v1``: plain JSON in and out, so that pydantic 1, 2 or none is the same to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Served

from pivotal.api.access import Access
from pivotal.api.compare_routes import CompareRoutes
from pivotal.api.dataset_routes import DatasetRoutes
from pivotal.api.description import describe
from pivotal.api.discreet import Discreet
from pivotal.api.host_routes import HostRoutes
from pivotal.api.http import PREFIX, Route, guarded
from pivotal.api.job_routes import JobRoutes
from pivotal.api.option_routes import OptionRoutes
from pivotal.api.panels import Panel, PanelRoutes
from pivotal.api.queue_routes import QueueRoutes
from pivotal.api.signed import ImageRoutes
from pivotal.hosts.protocol import Logins
from pivotal.jobs.desk import Desk

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")


def attach_routes(app: Any, desk: Desk, panels: Mapping[str, Panel], logins: Logins | None = None) -> None:
    """Puts the API in front of what `app` serves already: gradio answers every path that is not taken before it.

    Args:
        logins: whom the host lets in; None is everybody.
    """
    access, discreet, ours = Access(logins or Logins()), Discreet(desk.host), all_routes(desk, panels)
    routes = app.router.routes
    routes[:] = [route for route in routes if not getattr(route, "path", "").startswith(PREFIX + "/")]
    served = [Served(PREFIX + route.path, guarded(route, access, discreet), methods=[route.method], include_in_schema=False)
              for route in ours]
    routes[:0] = [*served, Served(PREFIX + "/{rest:path}", _nowhere(served), methods=list(_METHODS), include_in_schema=False)]
    describe(app, ours, is_open=access.is_open)


def all_routes(desk: Desk, panels: Mapping[str, Panel]) -> list[Route]:
    """Every address of the API, each with what it takes and answers."""
    groups = (HostRoutes(desk.host), OptionRoutes(desk), JobRoutes(desk), PanelRoutes(panels), ImageRoutes(desk.host),
              CompareRoutes(desk.comparisons), DatasetRoutes(desk.datasets), QueueRoutes(desk.queue))
    return [route for group in groups for route in group.all()]


def _nowhere(served: Sequence[Served]) -> Callable[[Request], Awaitable[Response]]:
    """What no route takes: an address that is none, or another method. Nothing is told of it but what anybody may read here."""

    async def refuse(request: Request) -> Response:
        methods = sorted({method for route in served if route.path_regex.match(f"{PREFIX}/{request.path_params['rest']}")
                          for method in route.methods or ()})
        if methods:
            return JSONResponse({"error": f"this address takes {' and '.join(methods)}"}, 405, {"Allow": ", ".join(methods)})
        return JSONResponse({"error": "there is no such address"}, 404)

    return refuse
