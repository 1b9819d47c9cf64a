"""Prompts for what is asked of a firm's memory every day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
)

__all__ = ["PROMPTS", "prompt"]

#: The longest value of an argument, in characters.
LONGEST: Final = 1000


@dataclass(frozen=True)
class _Template:
    """A prompt: its arguments with what they mean, and its text with places for them."""

    name: str
    summary: str
    arguments: Mapping[str, str]
    text: str

    @property
    def described(self) -> Prompt:
        """What agents are told of it."""
        arguments = [
            PromptArgument(name=name, description=meaning, required=True)
            for name, meaning in self.arguments.items()
        ]
        return Prompt(name=self.name, description=self.summary, arguments=arguments)


_ALL: Final = (
    _Template(
        "who_is",
        "Who is somebody: what the firm knows of a person or an organisation.",
        {"name": "The person or the organisation."},
        'Who is "{name}"? Find them with `search` (mode hybrid), take the entity that the hits '
        "share and read it with `get_entity`; look at `related` for the people and organisations "
        "around them. If several entities may be meant, name each and say how they differ, and "
        "do not mix them. Say where each fact comes from (kind and id of the record) and how "
        "fresh the index is.",
    ),
    _Template(
        "prepare_meeting",
        "Prepare a meeting: who comes, what was last spoken about, what is open.",
        {"who": "Whom the meeting is with.", "about": "What it is about."},
        'Prepare a meeting with "{who}" about "{about}". Find who they are as an entity with '
        "`search` and `get_entity`, then search for the subject with a filter by that entity. "
        "Write one page: who they are and their role; what was last said and agreed, with dates; "
        "what is open on either side; three questions to ask. Say where each fact comes from, "
        "and do not guess what is not there.",
    ),
    _Template(
        "what_changed",
        "What changed lately about somebody or something.",
        {"about": "The person, the organisation or the subject.", "since": "Since when."},
        'What changed about "{about}" since {since}? See with `index_status` how fresh the index '
        "is, `search` for the subject, and read the records whose dates or notes are that recent. "
        "`audit_list` tells what agents and people have noted, linked or tagged here since. List "
        "the changes, the newest first, each with its date and the record that it comes from.",
    ),
)

PROMPTS: Final = {known.name: known for known in _ALL}


def prompt(name: str, arguments: Mapping[str, str]) -> GetPromptResult:
    """The prompt *name* with its *arguments* filled in.

    :raises MCPError: there is none, or an argument is missing, unknown or too long.
    """
    if (known := PROMPTS.get(name)) is None:
        raise MCPError(INVALID_PARAMS, f"there is no prompt {name!r:.100}")
    if wrong := sorted(known.arguments.keys() ^ arguments.keys()):
        problem = "is missing" if wrong[0] in known.arguments else "is not known"
        raise MCPError(INVALID_PARAMS, f"prompt {name}: the argument {wrong[0]!r:.100} {problem}")
    if any(len(value) > LONGEST for value in arguments.values()):
        raise MCPError(INVALID_PARAMS, f"prompt {name}: an argument is too long")
    text = known.text.format(**arguments)
    message = PromptMessage(role="user", content=TextContent(text=text))
    return GetPromptResult(description=known.summary, messages=[message])
