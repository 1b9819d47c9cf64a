"""One thread that runs the models, and requests that are merged into its batches.

While a batch runs, requests arrive. For the next batch one of them *leads*: its longest texts
go first, and the batch is filled with texts of any request that are as long or a little
shorter, since each text in a batch costs as much as its longest.
"""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import merge
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from .refusals import Refusal

__all__ = ["Answer", "Model", "Models", "Row", "Tokens", "Worker"]

#: Texts that may wait for their batch: a minute of work, and more, on a Spark.
MOST_WAITING: Final = 8192

#: Seconds after which one who is refused may ask again.
RETRY_AFTER: Final = 2

#: One text, or a pair of them, as its model reads it: ``input_ids``, and what goes with them.
Tokens: TypeAlias = Mapping[str, list[int]]

#: What a model makes of it: a vector, or a single score.
Row: TypeAlias = list[float]

R = TypeVar("R")

log = logging.getLogger(__name__)


class Model(Protocol):
    """What runs in the thread. An input is a text, or a pair of a query and a text."""

    def tokens(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Each input as the model reads it, cut where that ends."""
        ...

    def run(self, batch: Sequence[Tokens]) -> list[Row]:
        """A row for each."""
        ...


@dataclass(frozen=True)
class Models:
    """Both models, loaded; ``dimension`` is the length of a vector."""

    embedder: Model
    reranker: Model
    dimension: int


@dataclass(frozen=True)
class Answer:
    """A row for each input, in order, and how many tokens were read."""

    rows: Sequence[Row]
    tokens: int


@dataclass(eq=False)
class Piece:
    """One input of a request, as its model reads it."""

    request: Request
    index: int
    tokens: Tokens

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.tokens["input_ids"])


@dataclass(eq=False)
class Request:
    """A caller who waits: what was asked, and what is not computed yet, the longest first."""

    model: Model
    inputs: Sequence[Any]
    answer: asyncio.Future[Answer]
    left: deque[Piece] = field(default_factory=deque)
    rows: dict[int, Row] = field(default_factory=dict)
    tokens: int = 0

    def begin(self, tokens: Sequence[Tokens]) -> None:
        """Take note of the inputs as the model reads them."""
        pieces = (Piece(self, index, found) for index, found in enumerate(tokens))
        self.left.extend(sorted(pieces, key=_length, reverse=True))
        self.tokens = sum(piece.length for piece in self.left)

    def put(self, index: int, row: Row | Refusal) -> None:
        """Take note of what came of one input; the last one answers the caller."""
        if self.answer.done():
            return
        if isinstance(row, Refusal):
            self.answer.set_exception(row)
            return
        self.rows[index] = row
        if len(self.rows) == len(self.inputs):
            rows = [self.rows[n] for n in range(len(self.inputs))]
            self.answer.set_result(Answer(rows, self.tokens))


def _length(piece: Piece) -> int:
    return piece.length


class Worker:
    """The thread and its queue. :meth:`run` loads the models and works until cancelled."""

    def __init__(self, *, batch_tokens: int, most_waiting: int = MOST_WAITING) -> None:
        self.models: Models | None = None
        self.waiting = 0
        self._batch_tokens = batch_tokens
        self._most_waiting = most_waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._arrived = asyncio.Event()
        self._new: deque[Request] = deque()
        self._begun: deque[Request] = deque()
        self._new_led = False

    async def ask(self, model: Model, inputs: Sequence[Any]) -> Answer:
        """What *model* makes of *inputs*. A caller who is cancelled takes them along.

        :raises Refusal: too much waits already, or the model failed.
        """
        if self.waiting and self.waiting + len(inputs) > self._most_waiting:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.waiting} texts wait already; ask again later",
                "busy",
                retry_after=RETRY_AFTER,
            )
        request = Request(model, inputs, asyncio.get_running_loop().create_future())
        self._new.append(request)
        self.waiting += len(inputs)
        self._arrived.set()
        try:
            return await request.answer
        finally:
            self.waiting -= len(inputs)

    async def run(self, load: Callable[[], Models]) -> None:
        """Load the models, then work until cancelled. What *load* raises is raised."""
        try:
            self.models = await self._in_thread(load)
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while await self._batch():
                    pass
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[..., R], *arguments: object) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # --------------------------------------------------------------------- one batch

    async def _batch(self) -> bool:
        """Run the next batch; False where nothing is left to do."""
        await self._read_new()
        self._forget_answered()
        if (lead := self._lead()) is None:
            return False
        pieces = self._chosen(lead)
        for piece in pieces:
            piece.request.left.remove(piece)
        rows = await self._in_thread(_rows, lead.model, [piece.tokens for piece in pieces])
        for piece, row in zip(pieces, rows, strict=True):
            piece.request.put(piece.index, row)
        return True

    async def _read_new(self) -> None:
        """Let the models read what arrived; in the thread, as that takes a while, too."""
        for request in [r for r in self._new if not r.left and not r.answer.done()]:
            try:
                request.begin(await self._in_thread(request.model.tokens, request.inputs))
            except Exception as error:
                if not request.answer.done():
                    request.answer.set_exception(_failed(error))

    def _forget_answered(self) -> None:
        """Those who have their answer, or left."""
        for requests in (self._new, self._begun):
            for request in [r for r in requests if r.answer.done()]:
                requests.remove(request)

    def _lead(self) -> Request | None:
        """Whose turn it is: new ones alternate with those that are begun.

        So a query waits for two batches of a backfill at most, and a backfill for no more than
        every other batch.
        """
        ready = [request for request in self._new if request.left]
        if ready and not (self._new_led and self._begun):
            self._new.remove(lead := ready[0])
            self._new_led = True
        elif self._begun:
            lead = self._begun.popleft()
            self._new_led = False
        else:
            return None
        self._begun.append(lead)
        return lead

    def _chosen(self, lead: Request) -> list[Piece]:
        """The pieces of the batch that *lead* leads, the longest first."""
        longest = lead.left[0].length
        others = [r for r in (*self._new, *self._begun) if r is not lead and r.model is lead.model]
        queues = [lead.left, *(_no_longer(request.left, longest) for request in others)]
        fits = max(self._batch_tokens // longest, 1)
        return list(islice(merge(*queues, key=_length, reverse=True), fits))


def _no_longer(pieces: deque[Piece], longest: int) -> Iterator[Piece]:
    return (piece for piece in pieces if piece.length <= longest)


# ------------------------------------------------------------------------ in the thread


def _rows(model: Model, batch: Sequence[Tokens]) -> list[Row | Refusal]:
    """A row for each, or why there is none.

    A batch that fails is tried in halves: it may have been too large, or one text in it is at
    fault, which must not be the others' loss.
    """
    try:
        rows = model.run(batch)
    except Exception as error:
        if len(batch) == 1:
            return [_failed(error)]
        half = len(batch) // 2
        return _rows(model, batch[:half]) + _rows(model, batch[half:])
    return [row if all(map(math.isfinite, row)) else _not_a_number() for row in rows]


def _failed(error: Exception) -> Refusal:
    """Neither the log nor the answer has the error's message, which may quote a text."""
    name = type(error).__name__
    log.error("the model failed: %s\n%s", name, "".join(traceback.format_tb(error.__traceback__)))
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"the model failed ({name})", "model_failed")


def _not_a_number() -> Refusal:
    log.error("the model computed a number that is none")
    return Refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the model computed NaN or infinity for one of the texts",
        "not_finite",
    )
