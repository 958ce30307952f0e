"""What the host has and how it counts."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pivotal.api.http import Refused, Served, answer, body_of, text_in
from pivotal.hosts.protocol import Host
from pivotal.prompts.counting import count_tokens

_MOST_VECTORS = 75  # of an embedding: what one chunk of a prompt holds
_LONGEST_TEXT = 100_000  # characters; a count beyond that serves nobody and would hold a thread


class HostRoutes:
    """Questions to the host; none waits for its lock."""

    def __init__(self, host: Host):
        self._host = host

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/tokens", "POST", self.tokens), ("/host", "GET", self.host)]

    async def tokens(self, request: Request) -> Response:
        """{"text", "kind": "prompt" or "caption", "wanted": vectors to fill, "embeddings": {name: vectors of more}}."""
        body = await body_of(request)
        text, kind = text_in(body, "text", _LONGEST_TEXT, ""), body.get("kind", "prompt")
        if kind not in ("prompt", "caption"):
            raise Refused(400, f"kind must be prompt or caption, not {kind!r}")
        extra, wanted = _vector_counts(body.get("embeddings", {})), body.get("wanted")
        if wanted is not None and not _is_vector_count(wanted):
            raise Refused(400, f"wanted must be a whole number from 1 to {_MOST_VECTORS}, or null")

        def count() -> Any:
            context = self._host.prompt_context()
            if not context.encoders:
                raise Refused(503, "the host has no checkpoint yet whose tokenizer could count")
            return count_tokens(text, context.encoders, {**context.embeddings, **extra}, kind=kind, wanted=wanted)

        return answer(await run_in_threadpool(count))

    async def host(self, request: Request) -> Response:
        """Which host this is, what it has loaded, and what it makes of a run's files; for bug reports and for tests."""
        host = self._host

        def ask() -> dict[str, Any]:
            return {"name": host.name, "checkpoint": host.checkpoint(), "checkpoints": list(host.checkpoints()),
                    "folders": host.folders(), "reads_bundles": host.reads_bundles, "networks": host.network_reader}

        return answer(await run_in_threadpool(ask))


def _vector_counts(counts: Any) -> dict[str, int]:
    if not isinstance(counts, dict) or not all(map(_is_vector_count, counts.values())):
        raise Refused(400, f"embeddings must map names to their number of vectors, 1 to {_MOST_VECTORS}")
    return counts


def _is_vector_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MOST_VECTORS
