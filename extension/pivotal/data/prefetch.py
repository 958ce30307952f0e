"""Reads what comes next while the device is busy with what is here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

AHEAD = 2  # of what is read at once; more only holds more memory


class Prefetch(Generic[Key, Value]):
    """Answers `work(key)`, which another thread has begun before, when it was told of the key.

    The answers are the same as without it, also when other keys are asked for than were told. An error is raised where
    its key is asked for. The one thread ends with `close`, and with this object.

    Args:
        work: may run in another thread; for one key at a time.
    """

    def __init__(self, work: Callable[[Key], Value]):
        self._work = work
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pivotal-reading")
        self._begun: dict[Key, Future[Value]] = {}
        self._is_closed = False

    def get(self, key: Key, then: Iterable[Key] = ()) -> Value:
        """The answer for `key`; what comes `then` is begun, and what was begun otherwise is forgotten."""
        future = self._begun.pop(key, None)
        wanted = [] if self._is_closed else list(then)
        for other in [other for other in self._begun if other not in wanted]:
            self._begun.pop(other).cancel()
        if future is None:
            # In the same thread, so that no two keys are worked on at once.
            future = self._pool.submit(self._work, key) if not self._is_closed else None
        for other in wanted:
            if other not in self._begun:
                self._begun[other] = self._pool.submit(self._work, other)
        return self._work(key) if future is None else future.result()

    def close(self) -> None:
        """Ends the thread, after the key it is at; asked again, keys are worked on in the caller's thread."""
        self._is_closed = True
        for future in self._begun.values():
            future.cancel()
        self._begun.clear()
        self._pool.shutdown(wait=True)

    def __enter__(self) -> Prefetch[Key, Value]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_ahead(work: Callable[[Key], Value], keys: Iterable[Key]) -> Iterator[tuple[Key, Value]]:
    """Each key with `work(key)`, in order, the next ones begun in another thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="pivotal-reading") as pool:
        begun: deque[tuple[Key, Future[Value]]] = deque()
        try:
            for key in keys:
                begun.append((key, pool.submit(work, key)))
                if len(begun) > AHEAD:
                    first, future = begun.popleft()
                    yield first, future.result()
            while begun:
                first, future = begun.popleft()
                yield first, future.result()
        finally:
            for _, future in begun:
                future.cancel()
