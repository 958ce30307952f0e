"""What all groups of routes share: what is asked, checked; answers out; errors in words."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pivotal.api.access import Access
from pivotal.api.discreet import Discreet, texts_in
from pivotal.api.fields import Field, from_text, values_of
from pivotal.api.plain import plain
from pivotal.api.shapes import Shape
from pivotal.config.build import flat_from_nested
from pivotal.errors import OptionError, PivotalError

log = logging.getLogger(__name__)

PREFIX = "/pivotal/v1"
_DEEPEST = 20  # levels of a body; a run has three
_LARGEST = 100_000_000  # bytes of a body; the largest painted mask has two thirds of that
_KEPT = {"Cache-Control": "no-store"}
OPTIONS = Field("options", "A run's options, nested or with dotted keys: those of GET /options.",
                {"type": "object"}, default={}, checked=False)
DRAFT = Field("options", "A run's options, good or bad: what is wrong with them is answered.", {"type": "object"}, default={},
              checked=False)


@dataclass(frozen=True)
class Asked:
    """A request whose fields are checked and complete."""

    body: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    path: Mapping[str, Any] = field(default_factory=dict)
    sent: Mapping[str, Any] = field(default_factory=dict)  # the body as it came, with what no field is of
    sent_query: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """``body["options"]`` with dotted keys."""
        return flat_from_nested(self.body["options"])


Endpoint = Callable[[Asked], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """An address, what it takes and answers. Its summary is the first line of the endpoint's docstring."""

    path: str  # behind PREFIX
    method: str
    endpoint: Endpoint
    answers: Shape
    body: tuple[Field, ...] = ()  # of a POST
    query: tuple[Field, ...] = ()
    in_path: tuple[Field, ...] = ()
    refuses: tuple[int, ...] = ()  # beside those that the guard itself answers with
    media: str = "application/json"
    strict: bool = False  # whether a field that is not known is refused; the page sends whole forms elsewhere

    @property
    def statuses(self) -> tuple[int, ...]:
        """All with which it may refuse."""
        own = {400, 413, 415, 500} if self.method == "POST" else {400, 500} if self.query or self.in_path else {500}
        return tuple(sorted(own | set(self.refuses)))


Served = list[Route]


class Refused(PivotalError):
    """A request that cannot be served, with its HTTP status."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


def guarded(route: Route, access: Access, discreet: Discreet) -> Callable[[Request], Awaitable[Response]]:
    """Serves a route: errors as JSON, in words; what was not foreseen is in the log with its traceback, and only there."""

    async def serve(request: Request) -> Response:
        if not access.allows(request.cookies, request.headers.get("authorization", "")):
            return _error(401, "log in first, with HTTP Basic or on the page", {"WWW-Authenticate": access.challenge})
        said: list[str] = list(request.query_params.values())
        try:
            asked = await _asked(route, request)
            said += texts_in(asked.sent)
            found = await route.endpoint(asked)
            return found if isinstance(found, Response) else answer(discreet.answer(plain(found), said))
        except OptionError as error:
            problems = {key: discreet.text(text, said) for key, text in error.problems.items()}
            return JSONResponse({"error": "some options need attention", "problems": problems}, 422, _KEPT)
        except Refused as error:
            return _error(error.status, discreet.text(str(error), said))
        except PivotalError as error:
            return _error(400, discreet.text(str(error), said))
        except Exception:
            log.exception("%s failed", request.url.path)
            return _error(500, "that did not work; the host's log says why")

    return serve


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, {**_KEPT, **(headers or {})})


async def _asked(route: Route, request: Request) -> Asked:
    """What is asked, complete.

    Raises:
        Refused: something of it cannot be.
    """
    sent = await _body_of(request) if route.method == "POST" else {}
    if route.strict and (unknown := [name for name in sent if name not in {known.name for known in route.body}]):
        names = ", ".join(known.name for known in route.body)
        raise Refused(400, f"{str(unknown[0])[:40]!r} is not known here" + (f"; there are {names}" if names else ""))
    body, wrong = values_of(route.body, sent)
    query, wrong_query = from_text(route.query, request.query_params)
    path, wrong_path = from_text(route.in_path, request.path_params)
    if wrong or wrong_query or wrong_path:
        raise Refused(400, wrong or wrong_query or wrong_path)
    if "options" in body and not isinstance(body["options"], dict):
        raise Refused(400, "options must be an object, nested or with dotted keys")
    return Asked(body, query, path, sent, request.query_params)


async def _body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        Refused: it is none, or is not declared as JSON.
    """
    # A page of another origin can send forms and plain text here, but not JSON without the browser asking us first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send JSON, with the header Content-Type: application/json")
    text = await _read(request)
    try:
        body = json.loads(text or b"{}", parse_constant=_refuse_constant, parse_float=_finite)
        json.dumps(body, ensure_ascii=False).encode()  # half a letter (\ud800) is no text that a file or an answer can hold
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {str(error)[:200]}") from error
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    if _is_deep(body):
        raise Refused(400, f"the body has values in values, more than {_DEEPEST} levels deep")
    return body


async def _read(request: Request) -> bytes:
    parts, length = [], 0
    async for part in request.stream():
        parts.append(part)
        length += len(part)
        if length > _LARGEST:
            raise Refused(413, f"the body has more than {_LARGEST} bytes")
    return b"".join(parts)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it has no number {name}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _is_deep(value: Any) -> bool:
    """Whether some who walk through it by recursion would come to their end."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for one in level if isinstance(one, (dict, list))
                 for inner in (one.values() if isinstance(one, dict) else one)]
    return bool(level)


def answer(value: Any) -> Response:
    """`value`, which is plain, as JSON that nobody keeps."""
    return JSONResponse(value, headers=_KEPT)
