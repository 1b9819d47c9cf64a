"""Compositions: requests to a relay that a plugin answers itself, out of backends' work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..references import Referable
from .backends import Relay

if TYPE_CHECKING:
    from .connection import Header

__all__ = ["Asked", "Composed", "Composition"]


@dataclass(frozen=True)
class Asked:
    """A request whose body is JSON, as a need: nothing of it was passed on.

    ``headers`` are those of the request, with names in lower case, and ``client`` is the address
    that it came from.
    """

    body: bytes
    headers: tuple[Header, ...]
    client: str


@dataclass(frozen=True)
class Composed:
    """An answer that a plugin made.

    A ``body`` that is generated is sent piece by piece, and closed when its caller leaves. An
    error that it raises breaks the answer off.
    """

    body: bytes | AsyncGenerator[bytes, None]
    media_type: str
    status: int = 200
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True)
class Composition:
    """What is answered by *answer*, instead of being passed on, where the form or the query of a
    request to *relay* says ``<field>=true``.

    Where *field* is None, that is every request to *relay*, whose body is JSON: none is passed on.

    ``answer`` names its needs by type, as an operation does: the
    :class:`~spark_core.gateway.gateway.Gateway`, and two of the request itself, its
    :class:`~spark_core.gateway.forms.Form` (or :class:`Asked`, where it has none) and its
    :class:`~spark_core.gateway.admission.Ticket`. What it raises is answered in OpenAI's shape.
    """

    relay: Relay
    field: str | None
    answer: Referable[Callable[..., Awaitable[Composed]]]
