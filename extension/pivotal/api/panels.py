"""Parts of the page that the server draws and the page's script keeps fresh (javascript/pivotal_progress.js)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from pivotal.api.fields import choice, text
from pivotal.api.http import Asked, Refused, Route, Served

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
        """What is served here."""
        name = choice("name", "Which panel.", self.panels, required=True)
        version = text("version", "The version that the asker has.", 4096)
        return [Route("/panel/{name}", "GET", self.panel, {"version": str, "html?": str}, query=(version,),
                      in_path=(replace(name, checked=False),), refuses=(404,))]

    async def panel(self, asked: Asked) -> dict[str, Any]:
        """The panel's HTML, unless the asker's `version` is the newest already.

        Further values of the query are the panel's own: its filters and pages.
        """
        name = asked.path["name"]
        if name not in self.panels:
            raise Refused(404, f"there is no panel {name[:40]!r}")
        return await run_in_threadpool(_shown, self.panels[name], asked.sent_query)


def _shown(panel: Panel, query: Query) -> dict[str, Any]:
    version = panel.version(query)  # before the HTML: what changes between the two is shown once more
    known = {**panel.facts(), "version": version}
    return known if query.get("version") == version else {**known, "html": panel.html(query)}
