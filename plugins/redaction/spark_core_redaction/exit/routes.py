"""What the guarded exit declares: its routes, and the kind of servers behind them."""

from __future__ import annotations

from typing import Any, Final

from spark_core import BackendKind, Composition, Relay, Resource, SettingsSection

__all__ = ["CHAT", "COMPOSITIONS", "EXIT", "KIND", "RESPONSES", "SECTION"]

_HERE: Final = "spark_core_redaction.exit"
_SETTINGS: Final = f"{_HERE}.settings:FrontierSettings"

_SUMMARY: Final = "Asked of a model outside, without what is private; the answer is restored."

CHAT: Final = Relay(
    "frontier-chat",
    "POST",
    "/v1/frontier/chat/completions",
    at="/chat/completions",
    summary=_SUMMARY,
)
RESPONSES: Final = Relay(
    "frontier-responses", "POST", "/v1/frontier/responses", at="/responses", summary=_SUMMARY
)

#: Everything that is asked there is answered by the compositions, so nothing passes as it is.
KIND: Final = BackendKind("frontier", _SETTINGS, (CHAT, RESPONSES), probed=False)

SECTION: Final = SettingsSection("plugins.redaction.frontier", _SETTINGS)

EXIT: Final[Resource[Any]] = Resource(f"{_HERE}.crossing:Exit", f"{_HERE}.crossing:open_exit")

COMPOSITIONS: Final = (
    Composition(CHAT, None, f"{_HERE}.answering:chat"),
    Composition(RESPONSES, None, f"{_HERE}.answering:respond"),
)
