"""What vLLM's routes have in common: models, its errors, and the pace of an answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import count as numbers
from typing import Any, Final

from .answers import Answer, Call, Refused, in_json
from .gpu import Gpu
from .knobs import Knobs
from .text import count, echo, merged

__all__ = ["Engine", "failure", "refuse"]

TYPES: Final = {
    400: "BadRequestError",
    404: "NotFoundError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}

DEAD: Final = (
    "EngineCore encountered an issue. See stack trace (above) for the root cause. "
    "(spark-lab stand-in)"
)


def failure(status: int, message: str, param: str | None = None, type_: str = "") -> Answer:
    """An error as vLLM words it."""
    kind = type_ or TYPES.get(status, "InternalServerError")
    error = {"message": message, "type": kind, "param": param, "code": status}
    return in_json({"error": error}, status)


def refuse(message: str, param: str | None = None, status: int = 400) -> Refused:
    """An error to raise."""
    return Refused(failure(status, message, param))


class Engine:
    """One or more models' names, and something that takes the time of a model."""

    def __init__(self, knobs: Knobs, gpu: Gpu, models: Sequence[str]) -> None:
        self.knobs, self.gpu, self.models = knobs, gpu, models
        self.awake = asyncio.Event()
        self.awake.set()
        self.totals: Counter[str] = Counter()
        self._numbers = numbers(1)

    def identity(self, call: Call, prefix: str, kind: str, model: str) -> dict[str, Any]:
        """How an answer begins. Who sends an ``X-Request-Id`` gets it back in the answer's id."""
        own = call.headers.get("x-request-id") or f"{next(self._numbers):032x}"
        return {
            "id": f"{prefix}-{own}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def model_of(self, body: Mapping[str, Any]) -> str:
        """The model that is asked for, which may be left out.

        :raises Refused: it is not served here.
        """
        model = body.get("model") or self.models[0]
        if model not in self.models:
            raise refuse(f"The model `{model}` does not exist.", "model", 404)
        return str(model)

    def answer(self, prompt: str, last: str, body: Mapping[str, Any]) -> tuple[list[str], str]:
        """The tokens that answer *last*, what was said last, and the reason why they end.

        :raises Refused: there is no room for them.
        """
        most = _most(body)
        self._check_room(count(prompt), most)
        own = most if most and body.get("ignore_eos") else self.knobs.tokens
        short = most is not None and most < own
        return echo(last, min(own, most or own)), "length" if short else "stop"

    def _check_room(self, asked: int, wanted: int | None) -> None:
        room = self.knobs.max_model_len
        if asked + (wanted or 1) > room:
            raise refuse(
                f"This model's maximum context length is {room} tokens. However, you requested "
                f"{asked + (wanted or 0)} tokens ({asked} in the messages, {wanted or 0} in the "
                "completion). Please reduce the length of the messages or completion.",
                "input_tokens",
            )

    async def run(self, tokens: int = 0) -> None:
        """Take the time of an answer of so many *tokens*."""
        await self.ready()
        try:
            async with self.gpu:
                seconds = self.knobs.work_seconds + tokens * self.knobs.token_seconds
                if seconds:
                    await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.totals["abort"] += 1
            raise
        self.totals["generated"] += tokens

    async def stream(self, tokens: Sequence[str]) -> AsyncGenerator[str, None]:
        """*tokens*, some of them merged, at the model's pace."""
        await self.ready()
        try:
            async with self.gpu:
                if self.knobs.work_seconds:
                    await asyncio.sleep(self.knobs.work_seconds)
                for text, size in merged(tokens):
                    await asyncio.sleep(size * self.knobs.token_seconds)
                    self.totals["generated"] += size
                    yield text
        except (asyncio.CancelledError, GeneratorExit):
            self.totals["abort"] += 1
            raise

    async def ready(self) -> None:
        """Wait until it is not asleep.

        :raises Refused: it is dead.
        """
        if self.knobs.engine_dead:
            raise refuse(DEAD, status=500)
        await self.awake.wait()


def _most(body: Mapping[str, Any]) -> int | None:
    """How many tokens the request allows."""
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        most = body.get(name)
        if most is not None:
            if not isinstance(most, int) or most < 1:
                raise refuse(f"{name} must be at least 1, got {most}.", name)
            return most
    return None
