"""The Python in the documentation: all of it compiles, and what says `run` runs.

A block may await at its top level, as in an interactive session.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

FENCE = re.compile(r"^( *)```(\S+)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page: its language, the words behind it, and its code."""

    place: str
    line: int
    language: str
    words: tuple[str, ...]
    code: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line}"

    def compiled(self) -> CodeType:
        # The empty lines make line numbers in errors those of the page.
        code = "\n" * (self.line - 1) + self.code
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        compiled: CodeType = compile(code, self.place, "exec", flags=flags)
        return compiled

    def run(self) -> None:
        code = self.compiled()
        result: Any = eval(code, {"__name__": "__main__"})
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(result)


def snippets(text: str, place: str) -> Iterator[Snippet]:
    """The fenced blocks of a page."""
    for match in FENCE.finditer(text):
        _, language, words, code = match.groups()
        line = text.count("\n", 0, match.start(4)) + 1
        yield Snippet(place, line, language, tuple(words.split()), textwrap.dedent(code))


PYTHON = [
    snippet
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for snippet in snippets(page.read_text("utf-8"), str(page.relative_to(ROOT)))
    if snippet.language == "python"
]


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_python_compiles(snippet: Snippet) -> None:
    """What is shown is Python."""
    snippet.compiled()


@pytest.mark.usefixtures("spark_home")
@pytest.mark.parametrize("snippet", [s for s in PYTHON if "run" in s.words], ids=str)
def test_python_runs(snippet: Snippet) -> None:
    """What is marked with `run` does what it says, in an empty folder."""
    snippet.run()


# ------------------------------------------------------------------------ the runner of the above


def test_a_snippet_may_stand_in_a_list_and_await() -> None:
    """Its code is dedented; its line is that of the page."""
    page = "- first\n\n  ```python run\n  import asyncio\n\n  await asyncio.sleep(0)\n  ```\n"
    [snippet] = snippets(page, "page.md")
    assert (str(snippet), snippet.words) == ("page.md:4", ("run",))
    snippet.run()


def test_a_snippet_fails_where_the_page_is_wrong() -> None:
    """The traceback names the line of the page."""
    [snippet] = snippets("text\n\n```python run\nx = 1\nraise LookupError\n```\n", "page.md")
    with pytest.raises(LookupError) as caught:
        snippet.run()
    assert caught.traceback[-1].lineno == 4  # counted from 0
    [snippet] = snippets("```python\ndef (\n```\n", "page.md")
    with pytest.raises(SyntaxError):
        snippet.compiled()
