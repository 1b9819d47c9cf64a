"""``[plugins.kokoro]``"""

from __future__ import annotations

from typing import Annotated

from spark_core import Env
from spark_core.gateway.sections import BackendsSection, Host, Port

__all__ = ["KokoroSettings"]


class KokoroSettings(BackendsSection):
    """``[plugins.kokoro]``: where Kokoro is."""

    host: Annotated[Host, Env("SPARK2_HOST")] = None
    port: Port = 8880
