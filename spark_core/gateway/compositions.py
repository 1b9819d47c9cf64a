"""Compositions: requests to a relay that a plugin answers itself, out of several backends' work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..references import Referable
from .backends import Relay

__all__ = ["Composed", "Composition"]


@dataclass(frozen=True)
class Composed:
    """An answer that a plugin made."""

    body: bytes
    media_type: str


@dataclass(frozen=True)
class Composition:
    """What is answered by *answer*, instead of being passed on, where the form or the query of a
    request to *relay* says ``<field>=true``.

    ``answer`` names its needs by type, as an operation does: the
    :class:`~spark_core.gateway.gateway.Gateway`, and two of the request itself, its
    :class:`~spark_core.gateway.forms.Form` and its
    :class:`~spark_core.gateway.admission.Ticket`. What it raises is answered in OpenAI's shape.
    """

    relay: Relay
    field: str
    answer: Referable[Callable[..., Awaitable[Composed]]]
