"""What never leaves, scrubbed or not: sound, pictures, transcripts, files that are not text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from spark_core.errors import Problem

from ..withheld import Withheld
from .words import words

__all__ = ["check_object", "check_text", "refused", "text_file"]

#: What parts of messages may be. A kind that is not known may be a picture.
_PARTS: Final = words(
    "text input_text output_text refusal summary_text reasoning_text file input_file"
)
_ITEMS: Final = words(
    "message function_call function_call_output custom_tool_call custom_tool_call_output"
)
_TOOLS: Final = frozenset({"function", "custom"})

#: Kinds that may be told; any other word may be somebody's name.
_SHOWN: Final = words(
    """
    image image_url input_image audio input_audio video video_url input_video thinking
    redacted_thinking tool_use tool_result reasoning item_reference mcp mcp_call web_search
    web_search_call file_search file_search_call code_interpreter code_interpreter_call
    computer_use_preview computer_call computer_call_output image_generation
    image_generation_call local_shell shell apply_patch
    """
)

#: Where each stands in a request; what stands elsewhere is somebody's own JSON.
_PLACES: Final = (
    (re.compile(r"(/(messages|input)/\d+/(content|output)|/prediction/content)(/\d+)?"), _PARTS),
    (re.compile(r"/input/\d+"), _ITEMS),
    (re.compile(r"/tools/\d+"), _TOOLS),
)

#: Fields that hold, or stand for, what cannot be read here.
_UNREADABLE: Final = words(
    "audio image_url input_audio image video file_id file_url encrypted_content"
)
#: Fields of a request that stand for what was said before, and is kept elsewhere.
_KEPT: Final = frozenset({"previous_response_id", "conversation", "prompt"})

_TEXT_FILE: Final = re.compile(
    r"data:(text/(?:plain|markdown|csv|html|xml)|application/json)(?:;charset=utf-8)?;base64,"
    r"([A-Za-z0-9+/\s]*={0,2})",
    re.IGNORECASE,
)

_MEDIA: Final = re.compile(
    r"data:(?:image|audio|video|font|model|application/(?!json\b))[\w.+-]*[/;,]", re.IGNORECASE
)
#: How the base64 of pictures, sounds, PDF and archives begins.
_MAGIC: Final = re.compile(
    r"(?<![A-Za-z0-9+/])(?:iVBORw0KGgo|/9j/[24]|R0lGOD|UklGR|SUQz|T2dnUw|ZkxhQw|GkXfo|JVBERi0|UEsDB"
    r"|H4sI)[A-Za-z0-9+/\s]{40}"
)
#: What pieces of transcripts call the time at which they begin.
_BEGINS: Final = ("start", "start_time", "startTime", "begin", "t0", "timestamp")
_TIME: Final = r"(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}"
_TRANSCRIPT: Final = re.compile(
    rf"^WEBVTT\b|^[ \t]*{_TIME}[ \t]+-->[ \t]+{_TIME}|^SPEAKER \S+ \d+ [\d.]+ [\d.]+ |"
    r'"(?:segments|words)"\s*:\s*\[\s*\{[^{}]*"(?:start|end)"\s*:\s*\d|'
    r"(?:^\W{0,3}speaker_\d+\b[^\n]*\n[\s\S]{0,2000}?){2}",
    re.MULTILINE | re.IGNORECASE,
)


def refused(kind: str, place: str) -> Withheld:
    """What is raised for a *kind* of thing that stands at *place*, a JSON pointer."""
    detail = f"{kind}: this never leaves"
    return Withheld(f"{place or 'the request'}: {detail}", problems=[Problem(place, detail)])


def check_object(value: Mapping[str, Any], place: str, *, nested: bool) -> None:
    """See that *value* is of a kind that may leave; *nested* is what stands in a text as JSON.

    :raises Withheld: it is not.
    """
    if _is_transcript(value):
        raise refused("a transcript", place)
    if nested:
        return
    kind = value.get("type")
    for where, allowed in _PLACES:
        if where.fullmatch(place) and not _is_allowed(value, kind, allowed, place):
            shown = f" ({kind})" if isinstance(kind, str) and kind in _SHOWN else ""
            raise refused(f"what is no text{shown}", place)
    for name in _UNREADABLE & value.keys() if not place.startswith("/tools") else ():
        if value[name]:
            raise refused("what cannot be read here", f"{place}/{name}")
    for name in _KEPT & value.keys() if not place else ():
        if value[name]:
            raise refused("what was said before and is kept elsewhere", f"/{name}")


def _is_allowed(
    value: Mapping[str, Any], kind: object, allowed: frozenset[str], place: str
) -> bool:
    if kind is None:
        return place[-1].isalpha() or (allowed is _ITEMS and "role" in value)
    return isinstance(kind, str) and kind in allowed


def _is_transcript(value: Mapping[str, Any]) -> bool:
    """Whether it looks like what recognisers and diarizers answer: pieces with their times."""
    return any(_is_timed(value.get(name)) for name in ("segments", "words"))


def _is_timed(pieces: Any) -> bool:
    if not (isinstance(pieces, list) and pieces and isinstance(pieces[0], dict)):
        return False
    return any(isinstance(pieces[0].get(name), int | float | str) for name in _BEGINS)


def check_text(text: str, place: str) -> None:
    """See that *text* holds no picture, no sound and no transcript.

    :raises Withheld: it does.
    """
    if _MEDIA.search(text) or _MAGIC.search(text):
        raise refused("a file that is no text", place)
    if _TRANSCRIPT.search(text):
        raise refused("a transcript", place)


def text_file(part: Mapping[str, Any], place: str) -> tuple[str, str]:
    """What stands before the content of the file in *part*, and its content.

    :raises Withheld: it is no text, or lies elsewhere.
    """
    given = part.get("file_data")
    found = _TEXT_FILE.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise refused("a file that is no text", place)
    try:
        content = base64.b64decode("".join(found[2].split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise refused("a file that is no text", place) from None
    return f"data:{found[1].lower()};base64,", content
