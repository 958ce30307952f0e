"""Parts of the page that the server draws and the page's script keeps fresh (javascript/pivotal_progress.js)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pivotal.api.http import Refused, Served, answer

Query = Mapping[str, str]  # what the page asks for, as a filter or a page's number


@dataclass(frozen=True)
class Panel:
    """How something is shown as HTML; `ui` makes it, for the API may not know the page."""

    html: Callable[[Query], str]  # a fragment whose top elements each have a data-part
    version: Callable[[Query], str]  # cheap; another one whenever the fragment may be another
    facts: Callable[[], Mapping[str, Any]] = dict  # for the page's scripts


class PanelRoutes:
    """Each panel by its name."""

    def __init__(self, panels: Mapping[str, Panel]):
        self.panels = panels

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/panel/{name}", "GET", self.panel)]

    async def panel(self, request: Request) -> Response:
        """The panel's HTML, unless the asker's `version` is the newest already."""
        name = request.path_params["name"]
        if name not in self.panels:
            raise Refused(404, f"there is no panel {name!r}")
        return answer(await run_in_threadpool(_shown, self.panels[name], request.query_params))


def _shown(panel: Panel, query: Query) -> dict[str, Any]:
    version = panel.version(query)  # before the HTML: what changes between the two is shown once more
    known = {**panel.facts(), "version": version}
    return known if query.get("version") == version else {**known, "html": panel.html(query)}
