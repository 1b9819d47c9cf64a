"""``[plugins.promotion]``: what is shipped where, one plan for each server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from spark_core import ConfigPath, Env, Section
from spark_core.errors import InvalidRequest, NotConfigured
from spark_core.settings import nearest

__all__ = ["LOCAL", "Consumer", "Logs", "Plan", "PromotionSettings", "Query"]

#: The name of the machine that this program runs on.
LOCAL: Final = "local"

#: Commands beside ``spark promote NAME``.
_TAKEN: Final = ("rollback", "status")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def _destination(path: str) -> str:
    if not path.startswith("/") or path.endswith("/") or "\n" in path:
        raise ValueError("must be the absolute path of a file")
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise ValueError("must have no part that is empty, . or ..")
    return path


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
Machine = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Service = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
Destination = Annotated[str, AfterValidator(_destination)]
Command = Annotated[tuple[str, ...], Field(min_length=1)]


class Query(Section):
    """A command that shows that the server serves.

    It succeeds with exit code 0 and, where ``expect`` is given, that in its output. One that has
    to be ``rejected`` fails with what ``expect`` says: a client that is missing rejects nothing.
    """

    name: str
    command: Command
    expect: Pattern | None = Field(default=None, description="What its output must hold.")
    rejected: bool = Field(default=False, description="The server has to refuse it.")
    on: Machine = Field(default=LOCAL, description="The machine on which it runs.")
    timeout_s: float = Field(default=30.0, gt=0, le=3600)

    @model_validator(mode="after")
    def _says_how_it_is_rejected(self) -> Self:
        if self.rejected and self.expect is None:
            raise ValueError("expect must say how the server refuses it")
        return self


class Consumer(Section):
    """A service that uses the server, and what its environment must say."""

    service: Service
    environment: dict[str, str] = {"GRAPH_BACKEND": "fanout"}
    ready_s: float = Field(default=300.0, gt=0, description="How long it may take to run again.")


class Logs(Section):
    """What the server's log says: regular expressions."""

    progress: tuple[Pattern, ...] = ("Snapshot load progress", r"imported \d+ graph\(s\)")
    bound: tuple[Pattern, ...] = Field(
        default=("Listening on UDS",), description="It serves; without any, that it runs is enough."
    )


class Plan(Section):
    """How one server's binary is shipped. What it leaves out the section says."""

    binary: ConfigPath = Field(description="What is shipped: a file on this machine.")
    build: tuple[str, ...] = Field(default=(), description="The command that makes it.")
    build_directory: ConfigPath = Field(default=Path(), description="Where that runs.")
    build_s: float = Field(default=3600.0, gt=0, description="How long that may take.")
    destination: Destination | None = None
    guard_symbols: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="Symbols that the binary must define, or it is not shipped."
    )
    nodes: tuple[Machine, ...] = Field(
        default=(), description="Machines that the binary lies on; the manager alone by default."
    )
    manager: Machine | None = None
    service: Service | None = None
    logs: Logs = Field(default_factory=Logs)
    consumers: tuple[Consumer, ...] | None = None
    verify: tuple[Query, ...] = ()

    @property
    def to(self) -> str:
        """The destination, which is known."""
        return self.destination or ""

    @property
    def by(self) -> str:
        """The manager, which is known."""
        return self.manager or LOCAL

    @property
    def serves(self) -> str:
        """The service, which is known."""
        return self.service or ""


class PromotionSettings(Section):
    """``[plugins.promotion]``"""

    plans: dict[str, Plan] = Field(default_factory=dict, description="Each by its name.")
    destination: Annotated[Destination | None, Env("ENGINE_BIN_DEST")] = Field(
        default=None, description="Where the binary lies on the nodes, if the plan does not say."
    )
    manager: Annotated[Machine, Env("SWARM_MANAGER")] = Field(
        default=LOCAL,
        description="The machine that manages services, if the plan does not say: one of "
        "`[plugins.ssh]`, or `local`.",
    )
    service: Annotated[Service | None, Env("ENGINE_SERVICE")] = Field(
        default=None, description="The service, if the plan does not say."
    )
    graphos_service: Annotated[Service | None, Env("GRAPHOS_SERVICE")] = Field(
        default=None, description="The first consumer, if the plan does not say."
    )
    messaging_service: Annotated[Service | None, Env("MESSAGING_SERVICE")] = Field(
        default=None, description="The second consumer, likewise."
    )
    features: Annotated[str, Env("FEATURES")] = Field(
        default="full", description="`FEATURES` in the environment of builds."
    )
    socket: Annotated[str, Env("ENGINE_SOCKET")] = Field(
        default="", description="`ENGINE_SOCKET` in the environment of queries."
    )
    graph: Annotated[str, Env("VERIFY_GRAPH")] = Field(
        default="__commons__", description="`VERIFY_GRAPH` in the environment of queries."
    )
    migrate_start_period_s: Annotated[int, Env("MIGRATE_DEFAULT_START_PERIOD")] = Field(
        default=600, ge=1, description="How long health checks may fail while data is migrated."
    )
    normal_start_period_s: Annotated[int, Env("NORMAL_HEALTH_START_PERIOD")] = Field(
        default=20, ge=1, description="How long they may fail otherwise: what is restored."
    )
    watch_s: Annotated[float, Env("MIGRATE_WATCH_TIMEOUT")] = Field(
        default=1800.0, gt=0, description="How long a server may take until it serves."
    )
    stall_s: float = Field(
        default=300.0, gt=0, description="Without progress for so long it counts as hung."
    )
    reach_s: float = Field(
        default=60.0, ge=0, description="How long a machine that is away is tried again."
    )
    poll_s: float = Field(default=1.0, gt=0, le=60, description="Between two looks at a service.")
    keep_backups: int = Field(
        default=3, ge=1, description="Backups that stay beside the destination, the newest."
    )
    folder: str = Field(
        default="~/.spark-core/promotion",
        pattern=r"^[A-Za-z0-9._~/@+=-]+$",
        description="On each machine: who may change something there.",
    )

    @model_validator(mode="after")
    def _names_are_no_commands(self) -> Self:
        for name in self.plans:
            if name in _TAKEN or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
                raise ValueError(f"plans: {name!r} cannot be the name of a plan")
        return self

    def plan(self, name: str) -> Plan:
        """The plan *name*, whole.

        :raises InvalidRequest: there is none.
        :raises NotConfigured: something is said neither by it nor by the section.
        """
        if name not in self.plans:
            known = ", ".join(self.plans) or "none"
            raise InvalidRequest(
                f"there is no plan {name!r}{nearest(name, self.plans)}", hint=f"plans: {known}"
            )
        plan = self.plans[name]
        whole = plan.model_copy(
            update={
                "destination": plan.destination or self.destination,
                "manager": plan.manager or self.manager,
                "service": plan.service or self.service,
                "nodes": plan.nodes or (plan.manager or self.manager,),
                "consumers": self._named() if plan.consumers is None else plan.consumers,
            }
        )
        for key in ("destination", "service"):
            if getattr(whole, key) is None:
                hint = f"set {key} in [plugins.promotion.plans.{name}]"
                raise NotConfigured(f"the plan {name} says no {key}", hint=hint)
        return whole

    def _named(self) -> tuple[Consumer, ...]:
        names = (self.graphos_service, self.messaging_service)
        return tuple(Consumer(service=name) for name in names if name)
