"""What every stand-in is: routes, knobs and a GPU. It knows nothing of connections."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar

from .answers import STAND_IN, Answer, Call, Handler, Refused, Stream, in_json
from .gpu import Gpu
from .knobs import Knobs

__all__ = ["Backend"]


class Backend(ABC):
    """A runtime's API, without the runtime."""

    name: ClassVar[str]
    default_port: ClassVar[int]
    default_models: ClassVar[tuple[str, ...]] = ()

    def __init__(self, knobs: Knobs, models: Sequence[str] = ()) -> None:
        self.knobs = knobs
        self.models = tuple(models) or self.default_models
        self.gpu = Gpu(knobs.slots)
        self._routes = self.routes()
        self._paths = {path for _, path in self._routes}

    @abstractmethod
    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """What answers which method and path; made once."""

    def failure(self, status: int, message: str) -> Answer:
        """An error in the shape that the runtime gives its errors: here that of FastAPI."""
        return in_json({"detail": message}, status)

    def running(self) -> AbstractAsyncContextManager[object]:
        """What goes on beside the requests."""
        return nullcontext()

    async def answer(self, call: Call) -> Answer | Stream:
        """What *call* gets, which may be an error."""
        try:
            return await self.handler(call)(call)
        except Refused as refused:
            return refused.answer
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # The real ones check all of a request; these only read what they need of it.
            why = f"{STAND_IN}: the request makes no sense ({type(error).__name__})"
            return self.failure(400, why)

    def handler(self, call: Call) -> Handler:
        """What answers *call*.

        :raises Refused: nothing does.
        """
        found = self._routes.get((call.method, call.path))
        if found is None:
            known = call.path in self._paths
            detail = "Method Not Allowed" if known else "Not Found"
            raise Refused(in_json({"detail": detail}, 405 if known else 404))
        return found

    def json(self, call: Call) -> dict[str, Any]:
        """The body, which must be a JSON object.

        :raises Refused: it is something else.
        """
        try:
            value = json.loads(call.body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(self.failure(400, "the body is not a JSON object"))
        return value

    async def work(self) -> None:
        """Keep a slot of the GPU for as long as a task takes."""
        async with self.gpu:
            if self.knobs.work_seconds:
                await asyncio.sleep(self.knobs.work_seconds)
