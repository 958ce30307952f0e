"""The HTTP API under ``/pivotal/v1``: plain JSON in and out, so that pydantic 1, 2 or none is the same to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.routing import Route

from pivotal.api.compare_routes import CompareRoutes
from pivotal.api.dataset_routes import DatasetRoutes
from pivotal.api.host_routes import HostRoutes
from pivotal.api.http import PREFIX, Served, guarded
from pivotal.api.job_routes import JobRoutes
from pivotal.api.option_routes import OptionRoutes
from pivotal.api.panels import Panel, PanelRoutes
from pivotal.api.queue_routes import QueueRoutes
from pivotal.api.signed import ImageRoutes
from pivotal.jobs.desk import Desk


def attach_routes(app: Any, desk: Desk, panels: Mapping[str, Panel]) -> None:
    """Puts the API in front of what `app` serves already: gradio answers every path that is not taken before it."""
    routes = app.router.routes
    routes[:] = [route for route in routes if not getattr(route, "path", "").startswith(PREFIX + "/")]
    for position, (path, method, endpoint) in enumerate(_served(desk, panels)):
        routes.insert(position, Route(PREFIX + path, guarded(endpoint), methods=[method], include_in_schema=False))


def _served(desk: Desk, panels: Mapping[str, Panel]) -> Served:
    groups = (HostRoutes(desk.host), OptionRoutes(desk), JobRoutes(desk), PanelRoutes(panels), ImageRoutes(desk.host),
              CompareRoutes(desk.comparisons), DatasetRoutes(desk.datasets), QueueRoutes(desk.queue))
    return [served for group in groups for served in group.all()]
