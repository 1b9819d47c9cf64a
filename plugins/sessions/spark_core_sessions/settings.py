"""``[plugins.sessions]``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field

from spark_core import ConfigPath, Env, Section
from spark_core.schedules import parse
from spark_core.settings import Settings

__all__ = [
    "SessionsSettings",
    "collector_schedule",
    "schedule_of",
    "usage_schedule",
    "verification_schedule",
]

Seconds = Annotated[int, Field(ge=1, le=86400 * 7)]


def _of_the_grammar(text: str | None) -> str | None:
    """A blank one counts as none."""
    if text is None or not text.strip():
        return None
    parse(text)
    return text


class SessionsSettings(Section):
    """``[plugins.sessions]``: where session files are, and how much of them is done at once."""

    directory: Annotated[ConfigPath, Env("SESSION_DATA_DIR")] = Field(
        default=Path("/data/user_sessions"),
        description="Where session files lie: `<user>/<session>.jsonl`.",
    )
    homes: ConfigPath = Field(
        default=Path("/home"), description="Whose folders the collector looks into."
    )
    collect: tuple[str, ...] = Field(
        default=("user/sessions/*.jsonl",),
        description="What it takes from each of them, as patterns of file names.",
    )
    skip_legacy_collector: Annotated[bool, Env("AGNES_SKIP_LEGACY_COLLECTOR")] = Field(
        default=False, description="Collect nothing: somebody else puts the files there."
    )
    max_per_run: Annotated[int, Env("SESSION_PROCESSOR_MAX_PER_RUN")] = Field(
        default=50, ge=1, description="How many files a run gives to its processor."
    )
    file_timeout_s: float = Field(
        default=180.0,
        gt=0,
        allow_inf_nan=False,
        description="How many seconds a processor has for a file.",
    )
    memory_limit: ByteSize = Field(
        default=ByteSize(2 * 1024**3),
        ge=128 * 1024**2,
        description="How much memory the process of a processor may have, in bytes or `2 GiB`.",
    )
    retry_first_s: float = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds before a file that failed is tried again; twice as many each time.",
    )
    retry_most_s: float = Field(
        default=86400.0, gt=0, allow_inf_nan=False, description="The most seconds before that."
    )
    verification_interval_s: Annotated[Seconds, Env("SCHEDULER_VERIFICATION_DETECTOR_INTERVAL")] = (
        Field(
            default=900,
            description="Seconds between runs of `verification`. Health is patient twice as long.",
        )
    )
    verification_schedule: Annotated[
        str | None, Env("SCHEDULER_VERIFICATION_SCHEDULE"), AfterValidator(_of_the_grammar)
    ] = Field(default=None, description="When `verification` runs instead of at an interval.")
    usage_interval_s: Annotated[Seconds, Env("SCHEDULER_USAGE_PROCESSOR_INTERVAL")] = Field(
        default=600, description="Seconds between runs of `usage`."
    )
    collector_interval_s: Annotated[Seconds, Env("SCHEDULER_SESSION_COLLECTOR_INTERVAL")] = Field(
        default=600, description="Seconds between runs of the collector."
    )
    stuck_grace_s: Annotated[float | None, Env("SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS")] = (
        Field(
            default=None,
            gt=0,
            description="Seconds that a file may wait before health tells of it; by default eight "
            "times verification_interval_s.",
        )
    )
    verification_model: str | None = Field(
        default=None, description="The chat model that is asked; by default the first there is."
    )
    verification_reply_s: float = Field(
        default=120.0, gt=0, description="How many seconds its turn may take to come."
    )

    @property
    def grace_s(self) -> float:
        """For how long files may be ahead of the processor, in seconds."""
        return 2.0 * self.verification_interval_s

    @property
    def stuck_s(self) -> float:
        """For how long a file may wait, in seconds."""
        return self.stuck_grace_s or 4 * self.grace_s


def schedule_of(seconds: int) -> str:
    """The schedule of every so many *seconds*; of no whole minutes, the next ones."""
    if seconds % 3600 == 0:
        return f"every {seconds // 3600}h"
    return f"every {-(-seconds // 60)}m"


def verification_schedule(settings: Settings) -> str:
    """When ``verification`` runs."""
    own = settings.section(SessionsSettings)
    return own.verification_schedule or schedule_of(own.verification_interval_s)


def usage_schedule(settings: Settings) -> str:
    """When ``usage`` runs."""
    return schedule_of(settings.section(SessionsSettings).usage_interval_s)


def collector_schedule(settings: Settings) -> str:
    """When the collector runs."""
    return schedule_of(settings.section(SessionsSettings).collector_interval_s)
