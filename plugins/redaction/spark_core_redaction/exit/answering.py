"""Answers ``/v1/frontier/chat/completions`` and ``/v1/frontier/responses``."""

from __future__ import annotations

from spark_core.gateway.compositions import Asked, Composed
from spark_core.gateway.tickets import Ticket

from .crossing import Exit
from .routes import CHAT, RESPONSES
from .streams import ChatStream, ResponseStream

__all__ = ["chat", "respond"]


async def chat(asked: Asked, ticket: Ticket, exit: Exit) -> Composed:
    """A chat completion of a model outside.

    :raises SparkError: see :meth:`~spark_core_redaction.exit.crossing.Exit.answer`.
    """
    return await exit.answer(CHAT, asked, ticket, ChatStream)


async def respond(asked: Asked, ticket: Ticket, exit: Exit) -> Composed:
    """A response of a model outside.

    :raises SparkError: see :meth:`~spark_core_redaction.exit.crossing.Exit.answer`.
    """
    return await exit.answer(RESPONSES, asked, ticket, ResponseStream)
