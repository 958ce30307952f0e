"""What the host has and how it counts."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool

from pivotal.api.fields import Field, choice, or_null, text, whole
from pivotal.api.http import Asked, Refused, Route, Served
from pivotal.hosts.protocol import Checkpoint, Folders, Host, NetworkReader
from pivotal.prompts.counting import count_tokens

_MOST_VECTORS = 75  # of an embedding: what one chunk of a prompt holds
_LONGEST_TEXT = 100_000  # characters; a count beyond that serves nobody and would hold a thread


class HostRoutes:
    """Questions to the host; none waits for its lock."""

    def __init__(self, host: Host):
        self._host = host

    def all(self) -> Served:
        """What is served here."""
        more = Field("embeddings", "Vectors of embeddings that the host does not have yet, by name.",
                     {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1, "maximum": _MOST_VECTORS}},
                     default={})
        counted = (text("text", "What is counted.", _LONGEST_TEXT),
                   choice("kind", "A prompt is counted as the host's counter does; a caption is taken literally.",
                          ("prompt", "caption"), default="prompt"),
                   or_null(whole("wanted", "Vectors that it shall fill, as an embedding's initial text.", 1, _MOST_VECTORS)),
                   more)
        pieces = [{"text": str, "id": int | None, "start": int | None, "end": int | None, "embedding": str | None,
                   "vectors": int}]
        encoder = {"count": int, "limit": int, "chunks": [{"pieces": pieces}]}
        return [Route("/tokens", "POST", self.tokens,
                      {"count": int, "limit": int, "encoders": dict[str, encoder], "cut": pieces, "padded": int}, counted,
                      refuses=(503,), strict=True),
                Route("/host", "GET", self.host,
                      {"name": str, "checkpoint": Checkpoint | None, "checkpoints": list[str], "folders": Folders,
                       "reads_bundles": bool, "networks": NetworkReader})]

    async def tokens(self, asked: Asked) -> Any:
        """Counts the tokens of a text, as the host does, with the pieces they stand for."""
        body = asked.body

        def count() -> Any:
            context = self._host.prompt_context()
            if not context.encoders:
                raise Refused(503, "the host has no checkpoint yet whose tokenizer could count")
            return count_tokens(body["text"], context.encoders, {**context.embeddings, **body["embeddings"]}, kind=body["kind"],
                                wanted=body["wanted"])

        return await run_in_threadpool(count)

    async def host(self, asked: Asked) -> Any:
        """Which host this is, what it has loaded, and what it makes of a run's files; for bug reports and for tests."""
        host = self._host

        def ask() -> dict[str, Any]:
            return {"name": host.name, "checkpoint": host.checkpoint(), "checkpoints": list(host.checkpoints()),
                    "folders": host.folders(), "reads_bundles": host.reads_bundles, "networks": host.network_reader}

        return await run_in_threadpool(ask)
