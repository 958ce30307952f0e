"""What all groups of routes share: bodies in, answers out, errors in words."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pivotal.api.plain import plain
from pivotal.config.build import flat_from_nested
from pivotal.errors import OptionError, PivotalError

log = logging.getLogger(__name__)

PREFIX = "/pivotal/v1"
_DEEPEST = 20  # levels of a body; a run has three
Endpoint = Callable[[Request], Awaitable[Response]]
Served = list[tuple[str, str, Endpoint]]  # path behind PREFIX, method, endpoint


class Refused(PivotalError):
    """A request that cannot be served, with its HTTP status."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


def guarded(endpoint: Endpoint) -> Endpoint:
    """Errors as JSON, in words; what was not foreseen is in the log with its traceback, and only there."""

    async def serve(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OptionError as error:
            return JSONResponse({"error": "some options need attention", "problems": error.problems}, 422)
        except Refused as error:
            return JSONResponse({"error": str(error)}, error.status)
        except PivotalError as error:
            return JSONResponse({"error": str(error)}, 400)
        except Exception:
            log.exception("%s failed", request.url.path)
            return JSONResponse({"error": "that did not work; the host's log says why"}, 500)

    return serve


async def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        Refused: it is none, or is not declared as JSON.
    """
    # A page of another origin can send forms and plain text here, but not JSON without the browser asking us first.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "send JSON, with the header Content-Type: application/json")
    text = await request.body()
    try:
        body = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    if _is_deep(body):
        raise Refused(400, f"the body has values in values, more than {_DEEPEST} levels deep")
    return body


def _is_deep(value: Any) -> bool:
    """Whether some who walk through it by recursion would come to their end."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for one in level if isinstance(one, (dict, list))
                 for inner in (one.values() if isinstance(one, dict) else one)]
    return bool(level)


def options_in(body: dict[str, Any]) -> dict[str, Any]:
    """``body["options"]`` with dotted keys."""
    options = body.get("options", {})
    if not isinstance(options, dict):
        raise Refused(400, "options must be an object, nested or with dotted keys")
    return flat_from_nested(options)


def text_in(body: dict[str, Any], name: str, most: int, default: str | None = None) -> str:
    """``body[name]``, a string of at most `most` characters."""
    text = body.get(name, default)
    if not isinstance(text, str) or len(text) > most:
        raise Refused(400, f"{name} must be a string of at most {most} characters")
    return text


def answer(value: Any) -> Response:
    """`value`, our dataclasses included, as JSON that nobody keeps."""
    return JSONResponse(plain(value), headers={"Cache-Control": "no-store"})
