"""``[plugins.ssh]``"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from spark_core import ConfigPath, Env, Section
from spark_core.contracts.machines import Machine
from spark_core.errors import NotConfigured
from spark_core.settings import Settings

__all__ = ["MachineSettings", "SshSettings", "is_configured"]

#: No option of a program, and nothing that a shell or known_hosts would read otherwise.
HOST = r"^[A-Za-z0-9_:][A-Za-z0-9._:%-]*$"
USER = r"^[A-Za-z_][A-Za-z0-9._-]*\$?$"


class MachineSettings(Section):
    """One of several: ``[[plugins.ssh.machines]]``"""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    host: str = Field(pattern=HOST)
    user: str = Field(pattern=USER)
    port: int = Field(default=22, ge=1, le=65535)


class SshSettings(Section):
    """``[plugins.ssh]``: which machines there are, and how they are reached."""

    machines: tuple[MachineSettings, ...] = Field(
        default=(), description="The machines; the first is where clients are served from."
    )
    spark1_host: Annotated[str, Env("SPARK1_HOST")] = Field(
        default="", description="The first machine, where machines names none."
    )
    spark1_user: Annotated[str, Env("SPARK1_USER")] = Field(
        default="", description="As whom commands run there."
    )
    spark2_host: Annotated[str, Env("SPARK2_HOST")] = Field(
        default="", description="The second machine, likewise."
    )
    spark2_user: Annotated[str, Env("SPARK2_USER")] = Field(
        default="", description="As whom commands run there."
    )
    key: Annotated[ConfigPath | None, Env("SSH_KEY_PATH")] = Field(
        default=None, description="The private key, without a passphrase. No other is used."
    )
    known_hosts: Annotated[ConfigPath | None, Env("SSH_KNOWN_HOSTS")] = Field(
        default=None, description="The machines' host keys; by default known_hosts in directory."
    )
    directory: Annotated[ConfigPath | None, Env("SSH_DIR")] = Field(
        default=None, description="A folder with known_hosts in it."
    )
    connect_s: float = Field(
        default=10.0, gt=0, le=300, description="How long connecting may take, in seconds."
    )
    keep_alive_s: float = Field(
        default=15.0,
        gt=0,
        le=600,
        description="Seconds between signs of life; after three without an answer, a connection "
        "counts as broken.",
    )

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        names = [machine.name for machine in self.machines]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"machines: {', '.join(sorted(twice))} is there twice")
        return self

    def each(self) -> Sequence[MachineSettings]:
        """Every machine that is configured.

        :raises NotConfigured: it is not said as whom commands run on one.
        """
        if self.machines:
            return self.machines
        named = {
            "spark1": (self.spark1_host.strip(), self.spark1_user.strip()),
            "spark2": (self.spark2_host.strip(), self.spark2_user.strip()),
        }
        for name, (host, user) in named.items():
            if host and not user:
                raise NotConfigured(
                    f"it is not said as whom commands run on {name}",
                    hint=f"set {name.upper()}_USER, or [plugins.ssh] {name}_user",
                )
        return tuple(
            MachineSettings(name=name, host=host, user=user)
            for name, (host, user) in named.items()
            if host
        )

    def contract(self) -> tuple[Machine, ...]:
        """Every machine, as others know it."""
        return tuple(Machine(m.name, m.host, m.user, m.port) for m in self.each())

    def key_file(self) -> Path:
        """The private key.

        :raises NotConfigured: no setting names it.
        """
        if self.key is None:
            raise NotConfigured(
                "no SSH key is set", hint="set SSH_KEY_PATH, or [plugins.ssh] key; no other is used"
            )
        return self.key

    def known_hosts_file(self) -> Path:
        """Where host keys are listed.

        :raises NotConfigured: no setting names it.
        """
        if self.known_hosts is not None:
            return self.known_hosts
        if self.directory is None:
            raise NotConfigured(
                "no file of known hosts is set",
                hint="set SSH_KNOWN_HOSTS or SSH_DIR, or [plugins.ssh] known_hosts",
            )
        return self.directory / "known_hosts"


def is_configured(settings: Settings) -> bool:
    """Whether any machine is named."""
    section = settings.section(SshSettings)
    return bool(section.machines or section.spark1_host.strip() or section.spark2_host.strip())
