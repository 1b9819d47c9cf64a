"""``[plugins.redaction.detection]``"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from spark_core import Section

__all__ = ["KINDS", "USUAL", "DetectionSettings"]

Kind = Literal[
    "PERSON", "ORGANIZATION", "LOCATION", "ADDRESS", "EMAIL", "PHONE", "URL", "IP", "MAC", "IBAN",
    "CARD", "NATIONAL_ID", "NUMBER", "BIRTH_DATE", "SECRET", "CRYPTO", "MONEY", "DATE", "GROUP",
]  # fmt: skip

KINDS: frozenset[Kind] = frozenset(get_args(Kind))

#: What is looked for if nothing else is said.
USUAL: frozenset[Kind] = KINDS - {"MONEY", "DATE", "GROUP"}


class DetectionSettings(Section):
    """``[plugins.redaction.detection]``: what is looked for in texts.

    What is known is always found, whatever ``kinds`` say.
    """

    kinds: frozenset[Kind] = Field(
        default=USUAL,
        description="What is taken out. `MONEY`, `DATE` and `GROUP` (nations, parties, faiths) "
        "are left in by default.",
    )
    model: Annotated[str, StringConstraints(pattern=r"^[\w-]+$")] | None = Field(
        default=None,
        description="The spaCy model that recognises unknown names. By default the small English "
        "one, where it is installed.",
    )
    model_required: bool = Field(
        default=False, description="Whether no text leaves while no such model is installed."
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="How long each detector may take over a text, in seconds; then it does not "
        "leave.",
    )
