"""``[plugins.services]``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from spark_core import ConfigPath, Env, Section

__all__ = ["ServicesSettings"]


class ServicesSettings(Section):
    """``[plugins.services]``: the services around the models."""

    file: ConfigPath = Field(
        default=Path("services.yaml"), description="The services that are shown."
    )
    overrides: ConfigPath | None = Field(
        default=None, description="`services-overrides.yaml` in the data directory."
    )
    matrix_bridge_user: Annotated[str, Env("MATRIX_BRIDGE_USER")] = Field(
        default="", description="Whom the Matrix bridge speaks as; blank hides the bridge."
    )
    cap_s: float = Field(
        default=1500.0, gt=0, le=1500, description="The longest that an action may take."
    )
    health_s: float = Field(
        default=120.0, gt=0, le=1500, description="How long a service may take to be well again."
    )
    vpn_interface: str = Field(
        default="wg0",
        pattern=r"^[A-Za-z0-9_.-]{1,15}$",
        description="The network interface whose address is the VPN's.",
    )
