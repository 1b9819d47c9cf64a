"""``[plugins.redaction.frontier]``"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from spark_core import Env
from spark_core.gateway.sections import BackendsSection, Key

__all__ = ["FrontierSettings"]


class FrontierSettings(BackendsSection):
    """``[plugins.redaction.frontier]``: models outside, which see scrubbed text and nothing else.

    ``url`` is what OpenAI's clients call the base URL, with the ``/v1`` that most have.
    """

    api_key: Annotated[Key, Env("SPARK_FRONTIER_KEY")] = Field(
        default=None,
        description="What the gateway sends as a bearer token; what callers send stays here.",
    )
    models: tuple[str, ...] = Field(
        default=(), description="The models that may be asked. No other name leaves."
    )

    @model_validator(mode="after")
    def _names_models(self) -> Self:
        if any(not backend.models for backend in self.each("frontier")):
            raise ValueError("models: name those that may be asked, as no other name leaves")
        return self

    @model_validator(mode="after")
    def _agrees_on_names(self) -> Self:
        """What is sent is made, and written down, before a server is chosen."""
        real: dict[str, str] = {}
        for backend in self.each("frontier"):
            for model in (*backend.models, *backend.aliases):
                name = backend.aliases.get(model, model)
                if real.setdefault(model, name) != name:
                    raise ValueError(f"aliases: {model!r} must mean the same model everywhere")
        return self
