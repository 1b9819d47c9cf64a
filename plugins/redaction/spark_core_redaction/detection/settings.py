"""``[plugins.redaction.detection]``"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from spark_core import Section

__all__ = ["KINDS", "USUAL", "DetectionSettings"]

#: What is looked for if nothing else is said.
USUAL = (
    "PERSON", "ORGANIZATION", "LOCATION", "ADDRESS", "EMAIL", "PHONE", "URL", "IP", "MAC", "IBAN",
    "CARD", "NATIONAL_ID", "NUMBER", "BIRTH_DATE", "SECRET", "CRYPTO",
)  # fmt: skip

#: What can be looked for, too, by choice.
CHOSEN = ("MONEY", "DATE", "GROUP")

KINDS = (*USUAL, *CHOSEN)

Kind = Literal[
    "PERSON", "ORGANIZATION", "LOCATION", "ADDRESS", "EMAIL", "PHONE", "URL", "IP", "MAC", "IBAN",
    "CARD", "NATIONAL_ID", "NUMBER", "BIRTH_DATE", "SECRET", "CRYPTO", "MONEY", "DATE", "GROUP",
]  # fmt: skip


class DetectionSettings(Section):
    """``[plugins.redaction.detection]``: what is looked for in texts.

    What is known is always found, whatever ``kinds`` say.
    """

    kinds: frozenset[Kind] = Field(
        default=frozenset(USUAL),
        description="What is taken out. `MONEY`, `DATE` and `GROUP` (nations, parties, faiths) "
        "are left in by default.",
    )
    model: Annotated[str, StringConstraints(pattern=r"^[\w-]+$")] | None = Field(
        default="en_core_web_sm",
        description="The spaCy model that recognises unknown names, where it is installed.",
    )
    model_required: bool = Field(
        default=False, description="Whether no text leaves while that model is not installed."
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="How long each detector may take over a text, in seconds; then it does not "
        "leave.",
    )
