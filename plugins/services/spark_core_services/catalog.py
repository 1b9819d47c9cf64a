"""The services that are shown: ``services.yaml``, its overrides, and the Matrix bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from spark_core import ConfigPath, DataDirectory
from spark_core.entries import EntryFiles
from spark_core.errors import NotFound
from spark_core.gateway.settings import GatewaySettings
from spark_core.settings import nearest

from .settings import ServicesSettings

__all__ = ["BRIDGE", "Kind", "Patches", "Service", "ServiceCatalog", "open_catalog"]

Kind = Literal["docker", "systemd", "http", "vllm"]

#: The name of the Matrix bridge's entry.
BRIDGE: Final = "matrix-bridge"

#: What only services of some kinds have.
_OF_KIND: Final[Mapping[Kind, frozenset[str]]] = {
    "docker": frozenset({"machine", "container", "update", "patches"}),
    "systemd": frozenset({"machine", "unit", "user_unit", "update"}),
    "http": frozenset(),
    "vllm": frozenset(),
}
_SOME_KINDS: Final = frozenset().union(*_OF_KIND.values())


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ValueError("must be like http://host:port")
    return url.rstrip("/")


def _path_in_container(path: str) -> str:
    parts = path.split("/")
    if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):
        raise ValueError("must be absolute, without parts that are empty, . or ..")
    return path


class Patches(BaseModel, defer_build=True):
    """Files that are laid over those in a container."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: ConfigPath = Field(description="Where they are here; beside the file that says it.")
    into: Annotated[str, AfterValidator(_path_in_container)]


class Service(BaseModel):
    """A service that is shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    kind: Kind
    title: str = Field(default="", max_length=100)
    machine: str | None = Field(default=None, description="By default the first one.")
    container: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    unit: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9:_.@\\-]*$")
    user_unit: bool = Field(
        default=True, description="Whether it is the user's own unit, which needs no rights."
    )
    url: Annotated[str, AfterValidator(_web_address)] | None = None
    health: str = Field(default="", pattern=r"^(/[^\s?#]*)?$", description="A path below url.")
    verify_tls: bool = True
    update: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="The commands of an update, each by its phase's name."
    )
    patches: Patches | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind in ("http", "vllm") and self.url is None:
            raise ValueError("url is missing")
        if strange := sorted((self.model_fields_set & _SOME_KINDS) - _OF_KIND[self.kind]):
            raise ValueError(f"{strange[0]} means nothing for the kind {self.kind}")
        if empty := [phase for phase, command in self.update.items() if not command]:
            raise ValueError(f"update.{empty[0]} has no command")
        return self

    @property
    def shown_title(self) -> str:
        """What people read."""
        return self.title or self.name

    @property
    def container_name(self) -> str:
        """The name of its container."""
        return self.container or self.name

    @property
    def unit_name(self) -> str:
        """The name of its unit."""
        return self.unit or f"{self.name}.service"

    @property
    def health_path(self) -> str:
        """Where below ``url`` it says how it is."""
        return self.health or ("/health" if self.kind == "vllm" else "")


class ServiceCatalog:
    """Every service that is shown. Files that changed are read again by themselves."""

    def __init__(
        self, settings: ServicesSettings, gateway: GatewaySettings, overrides: Path
    ) -> None:
        self._files = EntryFiles("services", Service, (settings.file, overrides))
        self._settings = settings
        self._disabled = {*gateway.disabled}

    @property
    def services(self) -> Mapping[str, Service]:
        """Each service by its name, but for those that are disabled, or hidden."""
        found: dict[str, Any] = dict(self._files.read().values)
        if not self._settings.matrix_bridge_user.strip():
            found.pop(BRIDGE, None)
        elif BRIDGE not in found:
            found[BRIDGE] = Service(name=BRIDGE, kind="docker", title="Matrix bridge")
        return {
            name: service
            for name, service in found.items()
            if self._disabled.isdisjoint({name, service.kind})
        }

    def find(self, name: str) -> Service:
        """The service called *name*.

        :raises NotFound: there is none that is shown.
        """
        services = self.services
        if name not in services:
            raise NotFound(
                f"there is no service {name!r}{nearest(name, services)}",
                hint=f"known services: {', '.join(services) or 'none'}",
            )
        return services[name]

    @property
    def warnings(self) -> Sequence[str]:
        """What is wrong with the files."""
        named = "file" in self._settings.model_fields_set
        missing = named and not self._settings.file.is_file()
        told = [f"[plugins.services] file: there is no file {self._settings.file}"] * missing
        return [*told, *self._files.read().warnings]


@asynccontextmanager
async def open_catalog(
    settings: ServicesSettings, gateway: GatewaySettings, data: DataDirectory
) -> AsyncIterator[ServiceCatalog]:
    """The services that settings name."""
    overrides = settings.overrides or data.path / "services-overrides.yaml"
    yield ServiceCatalog(settings, gateway, overrides)
