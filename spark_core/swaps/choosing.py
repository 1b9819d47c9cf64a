"""Which model should be there now: what somebody waits for, the timetable, the default.

It looks at how things are, not at what happened: a look that is missed does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ..clock import Clock
from ..errors import Conflict, SparkError
from ..gateway.gateway import Gateway
from .catalog import Catalog
from .driving import Swaps
from .models import Outcome, Swap
from .readiness import key_of
from .settings import DAYS, SwapSettings, Timeslot
from .wishes import WishList

__all__ = ["Situation", "choose", "choose_models", "due"]

#: Seconds between two looks.
LOOK: Final = 1.0

#: Seconds without work after which a model may go for one that somebody waits for.
IDLE: Final = 2.0

#: Seconds after which a swap that failed is tried again by itself, and the most of them: each
#: failure doubles them.
AGAIN: Final = 60.0
MOST: Final = 3600.0

#: How long requests may take to end before such a swap, in seconds.
DRAIN: Final = 3600.0

#: Seconds that a look at the machines is believed, where the model's server does not answer.
BELIEVED: Final = 10.0

#: Who begins these swaps, as the receipt names them.
CALLER: Final = "spark"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Situation:
    """How things are. Times are aware; ``expected_s`` is what a swap is expected to take.

    ``loaded_at`` is when the loaded model came, ``worked_at`` when it last did something, and
    ``wanted`` since when each model is waited for.
    """

    now: datetime
    loaded: str | None
    loaded_at: datetime | None = None
    busy: bool = False
    worked_at: datetime | None = None
    wanted: Mapping[str, datetime] = field(default_factory=dict)
    expected_s: float = 0.0
    due: str | None = None  # by the timetable
    due_since: datetime | None = None
    default: str | None = None


def choose(situation: Situation, settings: SwapSettings) -> tuple[str, str] | None:
    """The model to swap to now and the reason, or None.

    Who waits longest is next. It gets its turn when the loaded model has nothing to do, or so
    early that it is there ``max_wait_s`` after it was first wanted, however much the loaded
    one still has to do; but no model goes before it was there for ``min_residency_s``.
    """
    stays = _since(situation.loaded_at, situation.now)
    if situation.loaded is not None and stays < settings.min_residency_s:
        return None
    if wishes := [item for item in situation.wanted.items() if item[0] != situation.loaded]:
        return _wished(*wishes[0], situation, settings)
    if situation.due is not None:
        return _by_timetable(situation.due, situation, settings)
    return _default(situation, settings)


def _wished(
    model: str, since: datetime, situation: Situation, settings: SwapSettings
) -> tuple[str, str] | None:
    waits = _since(since, situation.now)
    if _idle_s(situation) > IDLE or waits + situation.expected_s >= settings.max_wait_s:
        return model, f"it was waited for {waits:.0f} s"
    return None


def _by_timetable(
    model: str, situation: Situation, settings: SwapSettings
) -> tuple[str, str] | None:
    moments = [m for m in (situation.due_since, situation.loaded_at) if m is not None]
    waits = _since(max(moments, default=None), situation.now)
    late = _idle_s(situation) > IDLE or waits >= settings.max_wait_s
    return (model, "the timetable") if model != situation.loaded and late else None


def _default(situation: Situation, settings: SwapSettings) -> tuple[str, str] | None:
    model, after = situation.default, settings.idle_s
    if model is None or model == situation.loaded or after is None:
        return None
    if situation.loaded is None or _idle_s(situation) >= after:
        return model, "nothing was asked of the model that was loaded"
    return None


def _since(moment: datetime | None, now: datetime) -> float:
    """Seconds since *moment*; for ever, where there was none."""
    return math.inf if moment is None else (now - moment).total_seconds()


def _idle_s(situation: Situation) -> float:
    """Seconds since the loaded model did something."""
    if situation.busy:
        return 0.0
    moments = [m for m in (situation.worked_at, situation.loaded_at) if m is not None]
    return _since(max(moments, default=None), situation.now)


def due(
    slots: Sequence[Timeslot], timezone: str, now: datetime
) -> tuple[str | None, datetime | None]:
    """The model of the first slot that *now* is in, and since when."""
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    here = now.astimezone(zone)
    for slot in slots:
        for back in (0, 1):  # a slot of yesterday may go on until today
            day = (here - timedelta(days=back)).date()
            begins = datetime.combine(day, slot.begins, zone)
            ends = datetime.combine(day, slot.ends, zone)
            if ends <= begins:
                ends = datetime.combine(day + timedelta(days=1), slot.ends, zone)
            if DAYS[day.weekday()] in slot.days and begins <= here < ends:
                return slot.model, begins
    return None, None


def patient(swaps: Iterable[Swap], model: str, now: datetime) -> bool:
    """Whether it is time to try *model* again; *swaps* are the newest first."""
    failures = 0
    last: Swap | None = None
    for swap in swaps:
        if swap.model != model or swap.outcome in (None, Outcome.READY):
            break
        last = last or swap
        failures += 1
    if last is None or last.ended_at is None:
        return True
    pause: float = min(AGAIN * 2.0 ** (failures - 1), MOST)
    return (now - last.ended_at).total_seconds() >= pause


class Chooser:
    """Begins swaps that nobody asked for by hand."""

    def __init__(
        self,
        swaps: Swaps,
        wishes: WishList,
        catalog: Catalog,
        gateway: Gateway,
        settings: SwapSettings,
        clock: Clock,
    ) -> None:
        self._swaps = swaps
        self._wishes = wishes
        self._catalog = catalog
        self._gateway = gateway
        self._settings = settings
        self._clock = clock
        self._looked_at: datetime | None = None
        self._ran = False

    async def look(self) -> None:
        """Begin a swap if one is to begin now."""
        newest = await self._swaps.history.newest(limit=10, host=self._swaps.host)
        if newest and newest[0].outcome is None:
            return
        situation = await self._situation()
        chosen = choose(situation, self._settings)
        if chosen is None or not patient(newest, chosen[0], situation.now):
            return
        try:
            # Nobody is cut off for it: requests end first, however long they take.
            await self._swaps.begin(chosen[0], caller=CALLER, reason=chosen[1], drain_s=DRAIN)
        except Conflict:
            return  # it is reserved, or another swap began: later, then
        log.info("swapping to %s: %s", *chosen)

    async def _situation(self) -> Situation:
        changed = await self._swaps.history.newest_change(self._swaps.parts.host.name)
        backend = self._swaps.parts.host.backend
        admission = self._gateway.admission
        state = next(pool for pool in admission.states() if pool.name == backend)
        worked = admission.sightings(backend).worked
        loaded = await self._loaded(changed)
        if loaded is not None:
            await self._wishes.fulfilled(loaded)
        wanted = await self._wishes.oldest()
        slot, since = due(self._settings.timetable, self._settings.timezone, self._clock.now())
        first = next((model for model in wanted if model != loaded), None)
        return Situation(
            now=self._clock.now(),
            loaded=loaded,
            loaded_at=changed.ended_at if changed else None,
            busy=bool(state.in_flight or state.waiting),
            worked_at=datetime.fromtimestamp(worked, UTC) if worked else None,
            wanted={model: at for model, at in wanted.items() if self._known(model)},
            expected_s=await self._swaps.history.expected_s(first) or 0.0 if first else 0.0,
            due=self._known(slot),
            due_since=since,
            default=self._catalog.default,
        )

    async def _loaded(self, changed: Swap | None) -> str | None:
        """What is loaded. A server that does not answer for a moment still has its model."""
        last = self._known(changed.serving) if changed else None
        key = key_of(self._catalog.find(last)) if last else None
        for name in await self._swaps.parts.models.listed(key):
            if known := self._known(name):
                return known
        return last if last is not None and await self._runs() else None

    async def _runs(self) -> bool:
        """Whether the machines run something, or cannot be asked."""
        now = self._clock.now()
        if self._looked_at is None or (now - self._looked_at).total_seconds() >= BELIEVED:
            self._looked_at, self._ran = now, True
            with suppress(SparkError):
                nodes = (await self._swaps.parts.host.observe()).nodes.values()
                self._ran = any(node.error or node.container for node in nodes)
        return self._ran

    def _known(self, name: str | None) -> str | None:
        try:
            return self._catalog.find(name).name if name else None
        except SparkError:
            return None


async def choose_models(
    swaps: Swaps,
    wishes: WishList,
    catalog: Catalog,
    gateway: Gateway,
    settings: SwapSettings,
    clock: Clock,
) -> None:
    """See to it that the right model is there, for ever."""
    chooser = Chooser(swaps, wishes, catalog, gateway, settings, clock)
    _ = swaps.parts  # without a host there is nothing to choose
    while True:
        await chooser.look()
        await asyncio.sleep(LOOK)
