"""What every session processor must do.

An implementer subclasses :class:`SessionProcessorConformance`, names the processor, and
overrides the ``run`` fixture with a function that processes one file with real needs::

    class TestWords(SessionProcessorConformance):
        processor = SessionProcessor("words", "every 10m", "firm.words:count_words")

        @pytest.fixture
        def run(self, words_table):
            return lambda session: count_words(session, words_table)
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from ..contracts.sessions import ProcessorResult, SessionFile, SessionProcessor
from ..operations import needs_of
from ..references import resolved
from ..schedules import is_valid
from .suites import AsyncSuite

__all__ = ["Run", "SessionProcessorConformance", "session_file"]

Run = Callable[[SessionFile], Awaitable[ProcessorResult]]

#: Lines as they are met with: both shapes of a message, and all that is wrong with some.
LINES: Final = (
    b'{"role": "user", "content": "Is the north pump mended?"}',
    b'{"type": "assistant", "uuid": "u1", "message": {"role": "assistant", "content": '
    b'[{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "t1", "name": "Read", '
    b'"input": {"path": "a"}}]}}',
    b'{"type": "user", "uuid": "u2", "message": {"role": "user", "content": [{"type": '
    b'"tool_result", "tool_use_id": "t1", "is_error": true, "content": "none"}]}}',
    b"",
    b"no JSON at all",
    b"[1, 2]",
    b'{"type": "user", "message": null}',
    b'{"type": "user", "message": {"role": 7, "content": {"a": [null]}}}',
    b'{"role": "user", "content": "caf\xe9, \\ud800 and \\u0000"}',
    b'{"deep": ' + b"[" * 3000 + b"]" * 3000 + b"}",
)


def session_file(path: Path, *lines: bytes | dict[str, Any], start: int = 0) -> SessionFile:
    """The session file of *lines*, written to *path*; *start* is where what is new begins."""
    raw = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    key = f"{path.parent.name}/{path.name}"
    return SessionFile(path, path.parent.name, key, start, path.stat().st_size)


class SessionProcessorConformance(AsyncSuite):
    """The rules, one test each."""

    #: The processor under test: override this.
    processor: SessionProcessor

    @pytest.fixture
    def run(self) -> Run:
        """Processes a file: override this."""
        raise NotImplementedError("override the run fixture")

    def test_it_is_an_async_function_over_a_session_file(self) -> None:
        """It can be called with what it names by type, a session file among it."""
        process = resolved(self.processor.process)
        assert inspect.iscoroutinefunction(process)
        assert SessionFile in needs_of(process).values()

    def test_its_schedule_is_of_the_grammar(self) -> None:
        """A scheduler can follow it."""
        assert is_valid(self.processor.schedule)

    async def test_a_session_without_anything_has_no_items(self, run: Run, tmp_path: Path) -> None:
        """An empty file is processed, and nothing is found."""
        assert await run(session_file(tmp_path / "ada" / "empty.jsonl")) == ProcessorResult(0)

    async def test_no_line_is_its_end(self, run: Run, tmp_path: Path) -> None:
        """Whatever stands in a file, what is wrong with a line does not stop it."""
        result = await run(session_file(tmp_path / "ada" / "odd.jsonl", *LINES))
        assert isinstance(result, ProcessorResult)
        assert result.items_count >= 0

    async def test_what_it_sees_again_is_not_new(self, run: Run, tmp_path: Path) -> None:
        """A run that was killed is done again: the same items are found, and none is added."""
        session = session_file(tmp_path / "ada" / "twice.jsonl", *LINES)
        await run(session)
        assert await run(session) == ProcessorResult(0)

    async def test_it_changes_no_session_file(self, run: Run, tmp_path: Path) -> None:
        """Files are somebody else's."""
        session = session_file(tmp_path / "ada" / "kept.jsonl", *LINES)
        before = session.path.read_bytes(), session.path.stat().st_mtime_ns
        await run(session)
        assert (session.path.read_bytes(), session.path.stat().st_mtime_ns) == before
