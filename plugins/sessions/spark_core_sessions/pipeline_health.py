"""Whether session files are processed as they come.

``ok``: there are none, or the processor keeps up. ``warning``: the newest file is ahead of the
last that was processed by more than the grace. ``info``: a file has waited too long, which is no
reason to wake anybody. ``unknown``: nobody can tell.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, Field

from spark_core.clock import Clock
from spark_core.errors import SparkError

from .files import Found, scan
from .runs import Runs
from .settings import SessionsSettings
from .states import SessionStates

__all__ = ["PipelineHealth", "pipeline_health"]

_FIRST: Final = 0.0
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class PipelineHealth(BaseModel, defer_build=True):
    """How the pipeline of session files is."""

    status: Literal["ok", "info", "warning", "unknown"]
    detail: str
    processor: str = Field(description="Whose work was looked at.")
    files: int = 0
    unprocessed: int = 0
    grace_s: float = Field(description="How far files may be ahead of the processor.")


async def pipeline_health(
    processor: str, settings: SessionsSettings, states: SessionStates, runs: Runs, clock: Clock
) -> PipelineHealth:
    """How the pipeline is, by the work of *processor*."""
    told = PipelineHealth(
        status="ok", detail="there are no files", processor=processor, grace_s=settings.grace_s
    )
    try:
        files = await asyncio.to_thread(scan, settings.directory)
        known = await states.of(processor)
        last = await runs.last(processor)
    except (OSError, SparkError) as error:
        reason = error.message if isinstance(error, SparkError) else error.strerror
        unknown = {"status": "unknown", "detail": f"nobody can tell: {reason}"}
        return told.model_copy(update=unknown)
    new = [f for f in files if f.key not in known or known[f.key].stamp != f.stamp]
    done = [state.processed_at for state in known.values()]
    if last is not None:  # what it saw and left alone was not forgotten
        done.append(last.started_at)
    seen = {"files": len(files), "unprocessed": len(new)}
    if new:
        status, detail = _behind(new, max(done, default=None), clock.now(), settings)
        return told.model_copy(update={**seen, "status": status, "detail": detail})
    return told.model_copy(update={**seen, **({"detail": "all is processed"} if files else {})})


def _behind(
    new: list[Found], done: datetime | None, now: datetime, settings: SessionsSettings
) -> tuple[str, str]:
    oldest, newest = (_moment(file.changed_at) for file in (new[0], new[-1]))
    # Where nothing was ever processed, it is the first file that waits.
    ahead = (newest - done if done is not None else now - oldest).total_seconds()
    if ahead > settings.grace_s:
        return "warning", f"files are {ahead:.0f} s ahead of what is processed"
    waited = (now - oldest).total_seconds()
    if waited > settings.stuck_s:
        return "info", f"a file has waited for {waited:.0f} s"
    return "ok", f"{len(new)} files are to be processed"


def _moment(seconds: float) -> datetime:
    """*seconds* of the epoch, within the calendar: a file may have any time."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)
