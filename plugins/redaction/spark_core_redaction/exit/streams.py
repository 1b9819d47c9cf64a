"""Streamed replies put right, event by event: each text of one goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Final, Protocol

from pydantic_core import from_json, to_json

from spark_core.errors import BackendError

from .events import Event
from .replies import Channel, Replies

__all__ = ["ChatStream", "ResponseStream", "Stream", "encoded", "said_for"]

Json = dict[str, Any]

#: What ends a stream of chunks.
_DONE: Final = b"[DONE]"

#: Where a text stands in a message: names of fields, and numbers of what is in lists.
Place = tuple[str | int, ...]

#: Fields of a delta that come whole.
_WHOLE: Final = frozenset({"role", "type", "id", "name", "format", "signature", "data"})


class Stream(Protocol):
    """Restores what is streamed."""

    def restored(self, event: Json) -> Iterable[Json]:
        """What is said instead of *event*."""
        ...

    def rest(self) -> Iterable[Json]:
        """What was held back, at the end."""
        ...


class ChatStream:
    """Chunks of chat completions."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._channels: dict[int, dict[Place, Channel]] = {}
        self._last: Json = {}

    def restored(self, event: Json) -> Iterable[Json]:
        """The chunk, with as much of each text as is sure."""
        choices = event.get("choices")
        if not isinstance(choices, list):
            return (self._replies.restored(event),)
        self._last = rest = {k: v for k, v in event.items() if k not in ("choices", "usage")}
        made = [self._choice(c) if isinstance(c, dict) else c for c in choices]
        return ({**self._replies.restored(rest), **_usage(event), "choices": made},)

    def _choice(self, choice: Json) -> Json:
        index = choice.get("index")
        number = index if isinstance(index, int) else 0
        delta = choice.get("delta")
        rest = {name: value for name, value in choice.items() if name != "delta"}
        if not isinstance(delta, dict):
            return self._made(choice)
        delta = self._delta(number, delta, ())
        if choice.get("finish_reason") is not None:
            self._flush(number, delta)
        return {**self._made(rest), "delta": delta}

    def _made(self, choice: Json) -> Json:
        made: Json = self._replies.restored(choice)
        return made

    def _delta(self, number: int, value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {k: self._delta(number, inner, (*place, k)) for k, inner in value.items()}
        if isinstance(value, list):
            return [self._delta(number, v, (*place, _index(v, at))) for at, v in enumerate(value)]
        if not isinstance(value, str):
            return value
        field = str(place[-1])
        if field in _WHOLE:
            return self._replies.text(value, field)
        channels = self._channels.setdefault(number, {})
        if place not in channels:
            channels[place] = self._replies.channel(field)
        return channels[place].feed(value)

    def _flush(self, number: int, delta: Json) -> bool:
        """Say in *delta* what is held back of a choice; whether there was anything."""
        held = [
            (place, channel.finish()) for place, channel in self._channels.get(number, {}).items()
        ]
        for place, text in held:
            if text:
                _add(delta, place, text)
        return any(text for _, text in held)

    def rest(self) -> Iterable[Json]:
        """A chunk more, if its server ended without saying that a choice is finished."""
        made = []
        for number in self._channels:
            delta: Json = {}
            if self._flush(number, delta):
                made.append({"index": number, "delta": delta, "finish_reason": None})
        return ({**self._last, "choices": made},) if made else ()


def _usage(event: Json) -> Json:
    return {"usage": event["usage"]} if "usage" in event else {}


def _index(value: Any, at: int) -> int:
    """Which one in a list *value* goes on with."""
    index = value.get("index") if isinstance(value, dict) else None
    return index if isinstance(index, int) else at


def _add(delta: Json, place: Place, text: str) -> None:
    """Say *text* at *place* in *delta*, behind what is said there."""
    field = place[-1]
    holder: Any = delta
    for step, then in pairwise(place):
        if isinstance(step, int):
            found = next((v for at, v in enumerate(holder) if _index(v, at) == step), None)
            if found is None:
                found = {"index": step}
                holder.append(found)
        else:
            made: Callable[[], Any] = list if isinstance(then, int) else dict
            found = holder[step] = holder.get(step) or made()
        holder = found
    if isinstance(field, int):
        holder.append(text)
    else:
        holder[field] = (holder.get(field) or "") + text


class ResponseStream:
    """Events of the Responses API, whose last ones say everything once more."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._channels: dict[Place, tuple[Channel, Json]] = {}
        self._more = self._said = 0

    def restored(self, event: Json) -> Iterable[Json]:
        """The event, with what is held back before it if it ends a text."""
        kind = event.get("type")
        stem = kind.removesuffix(".delta").removesuffix(".done") if isinstance(kind, str) else ""
        delta = event.get("delta")
        if isinstance(delta, str) and stem != kind:
            return (self._delta(stem, event, delta),)
        ended = self._ended(stem, event) if stem != kind else ()
        if event.get("response") and stem not in ("response.created", "response.in_progress"):
            ended = [*self._channels]
        held = [told for place in ended for told in self._held(place)]
        return (*held, self._numbered(self._replies.restored(event)))

    def _delta(self, stem: str, event: Json, delta: str) -> Json:
        place = _place(stem, event)
        if place not in self._channels:
            field = "arguments" if "arguments" in stem else "text" if "output_text" in stem else ""
            self._channels[place] = self._replies.channel(field), {}
        channel, _ = self._channels[place]
        self._channels[place] = channel, event
        rest = {name: value for name, value in event.items() if name != "delta"}
        return self._numbered({**self._replies.restored(rest), "delta": channel.feed(delta)})

    def _ended(self, stem: str, event: Json) -> list[Place]:
        place = _place(stem, event)
        return [place] if place in self._channels else []

    def _held(self, place: Place) -> Iterable[Json]:
        channel, last = self._channels.pop(place)
        if text := channel.finish():
            self._more += 1
            self._said += 1
            at = {"sequence_number": self._said} if "sequence_number" in last else {}
            yield {**last, **at, "delta": text}

    def _numbered(self, event: Json) -> Json:
        number = event.get("sequence_number")
        if not isinstance(number, int):
            return event
        self._said = number + self._more
        return {**event, "sequence_number": self._said}

    def rest(self) -> Iterable[Json]:
        """What was held back where the texts were not ended."""
        return [told for place in [*self._channels] for told in self._held(place)]


def _place(stem: str, event: Json) -> Place:
    names = ("item_id", "output_index", "content_index", "summary_index")
    return (stem, *(str(event.get(name)) for name in names))


def said_for(event: Event, stream: Stream) -> bytes:
    """The bytes that are sent on instead of *event*.

    :raises BackendError: it cannot be restored.
    """
    if event.data is None:
        return event.encoded()
    if event.data.strip() == _DONE:
        return encoded(stream.rest()) + event.encoded()
    try:
        value = from_json(event.data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BackendError("the answer has an event that is no JSON object")
    *held, last = stream.restored(value)
    return encoded(held) + event.encoded(to_json(last))


def encoded(said: Iterable[Json]) -> bytes:
    """Events more than came, with their names where they have one."""
    pieces = []
    for value in said:
        kind = value.get("type")
        others = (b"event: " + kind.encode(),) if isinstance(kind, str) else ()
        pieces.append(Event(to_json(value), others).encoded())
    return b"".join(pieces)
