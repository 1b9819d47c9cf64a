"""``[plugins.parakeet]``"""

from __future__ import annotations

from typing import Annotated

from spark_core import Env
from spark_core.gateway.sections import BackendsSection, Host, Port

__all__ = ["ParakeetSettings"]


class ParakeetSettings(BackendsSection):
    """``[plugins.parakeet]``: where the speech-to-text server is."""

    host: Annotated[Host, Env("SPARK2_HOST")] = None
    port: Port = 8000
