"""``/scrub``, ``/rehydrate`` and ``spark vault rotate``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from spark_core.errors import InvalidRequest, Problem

from .forms import JsonText
from .messages import parts_in, refuse_unreadable, texts_in, with_texts
from .scrubbing import Redaction
from .vault import Vault

__all__ = ["rehydrate", "rotate", "scrub"]


def _absent(value: object) -> bool:
    return value is None


class Told(BaseModel, defer_build=True):
    """A text, or messages as OpenAI has them; one of both."""

    text: str | None = Field(default=None, exclude_if=_absent, description="A text.")
    messages: list[dict[str, Any]] | None = Field(
        default=None,
        exclude_if=_absent,
        description="Messages as OpenAI has them, with parts and tool calls.",
    )

    def texts(self) -> tuple[list[str], list[str]]:
        """All texts in it, and where each of them is.

        :raises InvalidRequest: there is neither a text nor messages, or both.
        """
        if (self.text is None) == (self.messages is None):
            detail = "give either a text or messages"
            raise InvalidRequest(detail, problems=[Problem("/text", detail)])
        if self.text is not None:
            return [self.text], ["/text"]
        found = list(texts_in(self.messages, "/messages"))
        return [text for _, text in found], [pointer for pointer, _ in found]

    def told(self, texts: list[str]) -> dict[str, Any]:
        """The same with other *texts*."""
        if self.text is not None:
            return {"text": texts[0]}
        return {"messages": with_texts(self.messages, iter(texts))}


class ScrubRequest(Told, defer_build=True):
    """What is to leave."""

    scope: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The handle of an earlier answer: what was replaced there has the same "
        "placeholder here. Or a name of your own: see the page on redaction. By default a new "
        "scope.",
    )


class ScrubResponse(Told, defer_build=True):
    """What may leave."""

    handle: str = Field(repr=False, description="Restores what comes back; keep it to yourself.")
    counts: dict[str, int] = Field(description="How many pieces were replaced, by kind.")


class RehydrateRequest(Told, defer_build=True):
    """What came back."""

    handle: str = Field(repr=False, description="What scrubbing gave.")


class RehydrateResponse(Told, defer_build=True):
    """What it says in truth."""

    unknown: list[str] = Field(
        description="Placeholders that stand for nothing here, as they are written; they are left."
    )


async def scrub(request: ScrubRequest, redaction: Redaction) -> ScrubResponse:
    """Replace what is private in a text or in messages, so that they may leave.

    The same person or thing is the same placeholder, such as `[PERSON_7]`, in all of a scope.
    Where something private might be left, nothing is answered but where, and of which kind.
    """
    texts, pointers = request.texts()
    refuse_unreadable(request.messages, "/messages")
    for place, parts in parts_in(texts, pointers):
        await redaction.see_apart(parts, place)
    scrubbed = await redaction.scrub(texts, request.scope, pointers=pointers)
    told = request.told(list(scrubbed.texts))
    return ScrubResponse(**told, handle=scrubbed.handle, counts=dict(scrubbed.counts))


async def rehydrate(request: RehydrateRequest, redaction: Redaction) -> RehydrateResponse:
    """Restore what placeholders stand for, exactly as it was written.

    Also where a model changed them a little. Those that stand for nothing are left and told.
    """
    texts, _ = request.texts()
    plain = await redaction.restorer(request.handle)
    in_json = plain.another(json=True)
    restored = [(in_json if isinstance(t, JsonText) else plain).restore(t) for t in texts]
    unknown = list(dict.fromkeys([*plain.unknown, *in_json.unknown]))
    return RehydrateResponse(**request.told(restored), unknown=unknown)


class Rotated(BaseModel, defer_build=True):
    """What became of the vault's key."""

    resealed: int = Field(description="How many scopes are sealed with the newest key now.")
    unreadable: int = Field(description="How many cannot be opened: their key is not there.")


async def rotate(vault: Vault) -> Rotated:
    """Put a new key in the place of the vault's.

    The vault's own key is made anew. One that is configured is put first, and a comma and the
    former one behind it, before this is run; the former one can be taken away afterwards.
    It may be stopped at any moment and run again.
    """
    resealed, unreadable = await vault.rotate()
    return Rotated(resealed=resealed, unreadable=unreadable)
