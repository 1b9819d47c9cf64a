"""How quick a stand-in is, and what state it is in; may be changed while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Knobs"]


class Knobs(BaseModel):
    """All of a stand-in's knobs. Those that mean nothing to it do nothing."""

    model_config = ConfigDict(extra="forbid")

    #: Of an answer, where the request does not ask for fewer.
    tokens: int = Field(default=16, ge=1)
    #: Between two tokens, or two pieces of speech.
    token_seconds: float = Field(default=0.0, ge=0)
    #: Before the first token, or for the whole of another task.
    work_seconds: float = Field(default=0.0, ge=0)
    #: Requests that are worked on at the same moment, the others wait; fixed at the start.
    slots: int = Field(default=256, ge=1)
    #: How old, in seconds, what ``/metrics`` tells is.
    metrics_lag: float = Field(default=1.0, ge=0)
    #: Tokens that a request and its answer may have together.
    max_model_len: int = Field(default=32768, ge=1)
    #: The server answers, but its engine has died.
    engine_dead: bool = False
    #: There are ``/sleep``, ``/wake_up`` and ``/is_sleeping``.
    dev_mode: bool = False
    #: Asked for under ``/v1`` and ``/v2``.
    api_key: str | None = None

    def turn(self, given: Mapping[str, Any]) -> None:
        """Change some; all others stay.

        :raises ValidationError: one is unknown or wrong, and none was changed.
        """
        turned = Knobs.model_validate({**self.model_dump(), **given})
        for name in given:
            setattr(self, name, getattr(turned, name))
