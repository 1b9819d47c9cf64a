"""The gateway of one process: which backend a request goes to, and the connections to all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from ..errors import BackendError, NotConfigured, NotFound, SparkError, TimedOut
from .admission import Admission, Slot, Ticket
from .backends import Backend, Relay
from .connection import Connection
from .forms import Form, Multipart
from .table import Sighting
from .upstream import Refused, Upstream

__all__ = ["Begun", "Gateway", "Reply", "Target", "UnknownModel"]

#: Seconds that what a backend said of its models is believed, and how soon it is asked again
#: for a model that it does not have.
MODELS_SECONDS: Final = 10.0
MISSED_SECONDS: Final = 1.0

#: Seconds it has to say it.
LIST_SECONDS: Final = 3.0

#: The largest answer that is kept in memory, in bytes.
LARGEST_REPLY: Final = 64 * 1024**2


@dataclass(frozen=True)
class Reply:
    """What the backend called ``backend`` answered; ``status`` may say that it failed."""

    backend: str
    status: int
    body: bytes


@dataclass(frozen=True)
class Begun:
    """An answer of *backend* that has begun: its body is read as it comes, and closed after it."""

    backend: Backend
    answer: Connection

    async def whole(self) -> bytes:
        """All of its body.

        :raises SparkError: the rest does not come, or it is too large.
        """
        kept = bytearray()
        while piece := await self.answer.read():
            kept += piece
            if len(kept) > LARGEST_REPLY:
                raise BackendError(f"{self.backend.name} answered more than {LARGEST_REPLY} bytes")
        return bytes(kept)


class UnknownModel(NotFound):
    """No backend serves the model; ``known`` are those that are served."""

    def __init__(self, model: str, known: Iterable[str]) -> None:
        self.model = model
        self.known = sorted(known)
        names = ", ".join(self.known) or "none just now"
        super().__init__(f"the model {model!r} is not served here; known models: {names}")


class Target:
    """A backend as a request sees it, with the model's name as the backend knows it."""

    __slots__ = ("backend", "model", "upstream")

    def __init__(self, backend: Backend, upstream: Upstream, model: str | None) -> None:
        self.backend = backend
        self.upstream = upstream
        self.model = model


class Gateway:
    """Every backend that is configured, in one process."""

    def __init__(
        self, backends: Sequence[Backend], admission: Admission, disabled: Sequence[Backend] = ()
    ) -> None:
        self.backends = {backend.name: backend for backend in backends}
        self.disabled = disabled
        self.admission = admission
        self._upstreams = {b.name: Upstream(b.url, verify=b.section.verify_tls) for b in backends}
        self._serving: dict[Relay, list[Backend]] = {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self._listed_at: dict[str, float] = {}
        self._listing: dict[str, asyncio.Task[None]] = {}
        self._generation = 0
        self._generations: dict[str, int] = {}  # of those whose models ever changed

    def upstream(self, name: str) -> Upstream:
        """The connections to the backend called *name*."""
        return self._upstreams[name]

    def models(self, backend: Backend) -> tuple[str, ...]:
        """What *backend* serves, as far as is known now."""
        if backend.models and backend.name not in self._generations:
            return backend.models
        return self._listed.get(backend.name, ())

    def serving(self, relay: Relay) -> list[Backend]:
        """The backends that requests of *relay* can go to.

        :raises NotConfigured: none of those that could is configured.
        """
        found = self._serving.get(relay)
        if found is None:
            found = [backend for backend in self.backends.values() if backend.serves(relay)]
            self._serving[relay] = found
        if not found:
            raise self._unserved(relay)
        return found

    def _unserved(self, relay: Relay) -> NotConfigured:
        if off := [backend.name for backend in self.disabled if backend.serves(relay)]:
            return NotConfigured(
                f"what serves {relay.path} is disabled: {', '.join(off)}",
                hint="take it out of DISABLED_SERVICES, or of disabled in [gateway]",
            )
        return NotConfigured(
            f"no backend that serves {relay.path} is configured",
            hint="set the url in its section of spark.toml",
        )

    def chooses(self, relay: Relay) -> bool:
        """Whether several backends serve *relay*, so that the model's name says which."""
        return len(self.serving(relay)) > 1

    async def targets(self, relay: Relay, model: str | None) -> list[Target]:
        """Where a request of *relay* for *model* can go; None leaves it to the backends.

        :raises UnknownModel: no backend serves it.
        :raises NotConfigured: nothing that serves *relay* is configured.
        """
        backends = self.serving(relay)
        generation = self._heed_changes()
        if found := self._named(backends, model):
            self._ask_again(backends, MODELS_SECONDS)  # for the requests to come
            return found
        if asking := self._ask_again(backends, MISSED_SECONDS):
            await asyncio.wait(asking)
        if generation != self.generation:
            return await self.targets(relay, model)
        if found := self._named(backends, model):
            return found
        assert model is not None
        raise UnknownModel(model, {m for b in backends for m in self._names(b)})

    def _named(self, backends: Iterable[Backend], model: str | None) -> list[Target]:
        """Those that have it; if none is known to, those that did not say what they have."""
        sure, unsure = [], []
        for backend in backends:
            models = self.models(backend)
            real = backend.aliases.get(model, model) if model is not None else None
            target = Target(backend, self._upstreams[backend.name], real)
            if real is None or real in models:
                sure.append(target)
            elif not models and self._listed_at.get(backend.name) is not None:
                unsure.append(target)  # it is down, or does not tell us: it says whether it has it
        return sure or unsure

    def _names(self, backend: Backend) -> set[str]:
        """Its models, and the other names of those."""
        models = self.models(backend)
        return {*models, *(name for name, real in backend.aliases.items() if real in models)}

    # --------------------------------------------------------------------- changing models

    @property
    def generation(self) -> int:
        """A number that grows whenever a backend's models are forgotten.

        Where it is the same as before :meth:`targets`, and a place is held, these still hold.
        """
        return self.admission.generation

    def forget_models(self, name: str) -> None:
        """Let every process ask the backend called *name* before it believes what it serves.

        From here on it is believed more than what settings say of its models. Say it when they
        are gone, and again when others are there, before its door is opened.

        :raises NotFound: there is no such backend.
        """
        self.admission.changed(name)

    def _heed_changes(self) -> int:
        """Forget what backends said whose models changed; the generation that is heeded then."""
        if (generation := self.generation) != self._generation:
            for name, backend in self.backends.items():
                number = self.admission.generation_of(name) if backend.kind.lists_models else 0
                if number != self._generations.get(name, 0):
                    self._generations[name] = number
                    self._listed.pop(name, None)
                    self._listed_at.pop(name, None)
            self._generation = generation
        return generation

    async def targets_of(self, slot: Slot, relay: Relay, model: str | None) -> list[Target]:
        """Where a request can go now that models changed while it waited for *slot*.

        Unless one of them is the backend of *slot*, this is given back.

        :raises UnknownModel: no backend serves *model* any more.
        """
        found: list[Target] = []
        try:
            found = await self.targets(relay, model)
        finally:
            if all(target.backend.name != slot.name for target in found):
                slot.release()
        return found

    # ------------------------------------------------------------------- asking for models

    def _ask_again(self, backends: Iterable[Backend], after_s: float) -> list[asyncio.Task[None]]:
        """Ask those that list their models and were not asked for *after_s*; the tasks that ask."""
        oldest = time.monotonic() - after_s
        for backend in backends:
            is_said = backend.models and backend.name not in self._generations
            if is_said or not backend.kind.lists_models or backend.name in self._listing:
                continue
            if self._listed_at.get(backend.name, -1.0) <= oldest:
                task = asyncio.create_task(self._list(backend), name=f"models of {backend.name}")
                self._listing[backend.name] = task
        return [self._listing[b.name] for b in backends if b.name in self._listing]

    async def _list(self, backend: Backend) -> None:
        name, generation = backend.name, -1
        try:
            # What was asked for before the models changed may be of before.
            while generation != self.admission.generation_of(name):
                generation = self.admission.generation_of(name)
                listed = await self._ask_models(backend)
            self._listed[name] = self._listed.get(name, ()) if listed is None else listed
            self._listed_at[name] = time.monotonic()
        finally:
            del self._listing[name]

    async def _ask_models(self, backend: Backend) -> tuple[str, ...] | None:
        """What *backend* says; None where it says nothing: what it said before may still hold."""
        try:
            answer = from_json(await self.ask(backend, "/v1/models", wait_s=LIST_SECONDS))
            return tuple(str(model["id"]) for model in answer["data"])
        except (SparkError, ValueError, LookupError, TypeError):
            return None

    async def ask(
        self, backend: Backend, path: str, *, body: bytes = b"", kind: str = "", wait_s: float
    ) -> bytes:
        """What *backend* answers to a GET of *path*, or to a POST of a *body* of that *kind*.

        :raises BackendError: it answers with another status than success.
        :raises SparkError: it cannot be reached, or does not answer within *wait_s*.
        """
        headers = [*backend.credentials]
        if body:
            headers += (b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))
        try:
            async with asyncio.timeout(wait_s):
                answer = await self._upstreams[backend.name].ask(
                    b"POST" if body else b"GET",
                    path.encode(),
                    headers,
                    body,
                    first_byte_s=wait_s,
                )
                try:
                    pieces = [piece async for piece in answer]
                finally:
                    answer.close()
        except TimeoutError:
            raise TimedOut(f"{backend.name} did not answer within {wait_s:.0f} s") from None
        if answer.status >= 300:
            raise BackendError(f"{backend.name} answered {path} with status {answer.status}")
        return b"".join(pieces)

    async def request(
        self, relay: Relay, body: Form | Mapping[str, Any], ticket: Ticket, *, model: str | None
    ) -> Reply:
        """What a backend answers to *body*, sent to *relay* when it is the turn of *ticket*.

        ``model`` in *body* becomes the name by which the backend knows *model*; None leaves it
        as it is, and the choice to the backends. Another backend is asked where the first
        cannot be reached or is overloaded.

        :raises Busy: the request's turn did not come in time.
        :raises UnknownModel: no backend serves *model*.
        :raises NotConfigured: nothing that serves *relay* is configured.
        :raises SparkError: no backend could be reached, or gave a whole answer in time.
        """
        begun = await self.begin(relay, body, ticket, model=model)
        began = time.monotonic()
        try:
            kept = await begun.whole()
        except SparkError as error:
            self.lost(begun.backend.name, error)
            raise
        finally:
            begun.answer.close()
            ticket.spent.asked_s += time.monotonic() - began
        return Reply(begun.backend.name, begun.answer.status, kept)

    async def begin(
        self,
        relay: Relay,
        body: Form | Mapping[str, Any] | bytes,
        ticket: Ticket,
        *,
        model: str | None,
        own_key: bool = False,
    ) -> Begun:
        """The answer to *body* as in :meth:`request`, when its head is there; close it.

        A body of bytes is JSON that is sent as it is. With *own_key* the backend hears the key
        that its settings say.

        :raises SparkError: as there.
        """
        generation = self.generation
        targets = {target.backend.name: target for target in await self.targets(relay, model)}
        until = time.monotonic() + ticket.wait_s
        while True:
            slot = await self.admission.admit(
                [*targets],
                caller=ticket.caller,
                priority=ticket.priority,
                wait_s=max(until - time.monotonic(), 0.001),
            )
            if generation != self.generation:
                generation = self.generation
                targets = {t.backend.name: t for t in await self.targets_of(slot, relay, model)}
                if not slot.held:
                    continue
            ticket.spent.queued_s += slot.queued_s
            target = targets.pop(slot.name)
            began = time.monotonic()
            try:
                answer = await self._send(relay, target, slot, body, ticket, own_key)
            except SparkError as error:
                self.failed(target.backend, error)
                if not (isinstance(error, Refused) and targets):
                    self.lost(target.backend.name, error)
                    raise
            else:
                if answer.status != 503 or not targets:
                    return Begun(target.backend, answer)
                answer.close()
            finally:
                ticket.spent.asked_s += time.monotonic() - began

    async def _send(
        self,
        relay: Relay,
        target: Target,
        slot: Slot,
        body: Form | Mapping[str, Any] | bytes,
        ticket: Ticket,
        own_key: bool,
    ) -> Connection:
        try:
            media_type, length, content = _encoded(body, target.model)
        except BaseException:
            slot.release()
            raise
        section = target.backend.section
        answer = await target.upstream.ask(
            relay.method.encode(),
            (relay.at or relay.path).encode(),
            [
                *ticket.headers,
                *(target.backend.credentials if own_key else ()),
                (b"content-type", media_type.encode()),
                (b"content-length", b"%d" % length),
            ],
            content,
            first_byte_s=section.first_byte_s,
            silent_s=section.silent_s,
            when_complete=slot.release,
        )
        self.answered(target.backend, answer.status)
        return answer

    def answered(self, backend: Backend, status: int) -> None:
        """*backend* answered with *status*."""
        if status < 500:
            self.admission.saw(backend.name, Sighting.WORKED)

    def failed(self, backend: Backend, error: Exception) -> None:
        """*backend* could not be reached, or did not answer as it should."""
        if isinstance(error, Refused):
            self.admission.saw(backend.name, Sighting.DOWN)

    def lost(self, name: str, error: Exception) -> None:
        """A request to the backend called *name* ended with *error*, and went nowhere else."""
        if isinstance(error, BackendError | Refused | TimedOut):
            self.admission.lost(name)

    async def all_models(self) -> Mapping[str, Backend]:
        """Every model that is known now, by name, with a backend that serves it."""
        self._heed_changes()
        if asking := self._ask_again(self.backends.values(), MISSED_SECONDS):
            await asyncio.wait(asking)
        return {name: b for b in self.backends.values() for name in sorted(self._names(b))}

    async def aclose(self) -> None:
        """Close every connection."""
        for task in [*self._listing.values()]:
            task.cancel()
        await asyncio.gather(*self._listing.values(), return_exceptions=True)
        for upstream in self._upstreams.values():
            upstream.close()


def _encoded(
    body: Form | Mapping[str, Any] | bytes, model: str | None
) -> tuple[str, int, bytes | Multipart]:
    """The type, the length and the bytes of *body*, which names *model* if there is one."""
    if isinstance(body, Form):
        form = Multipart(body.having(("model", model)) if model is not None else body)
        return form.media_type, form.length, form
    if isinstance(body, bytes):
        return "application/json", len(body), body
    content = to_json({**body, "model": model} if model is not None else body)
    return "application/json", len(content), content
