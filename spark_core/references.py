"""References: what does the work, by name, so that it is imported when it is first used.

A declaration says what there is, and every program reads all of them; what does the work may
be large, and most programs use little of it. So wherever a declaration takes a function or a
class, it takes ``"package.module:name"``, too.
"""

from __future__ import annotations

import importlib
from operator import attrgetter
from typing import Final, TypeAlias, TypeVar

from .errors import PluginError

__all__ = ["INTERRUPTS", "Referable", "name_of", "resolved"]

T = TypeVar("T")

#: What is meant for the program, whoever's code it is raised in, where nothing is awaited; see
#: :data:`spark_core.containment.ENDINGS`, which takes asyncio.
INTERRUPTS: Final = (KeyboardInterrupt, GeneratorExit)

#: A thing, or where it is found.
Referable: TypeAlias = T | str


def resolved(thing: Referable[T], owner: str = "") -> T:
    """*thing* itself, imported if it is not yet; *owner* is the distribution that offers it.

    :raises PluginError: it cannot be imported, for whatever reason.
    """
    if not isinstance(thing, str):
        return thing
    module, _, attribute = thing.partition(":")
    try:
        found: T = attrgetter(attribute)(importlib.import_module(module))
    except INTERRUPTS:
        raise
    except BaseException as error:
        whose = f" of {owner}" if owner else ""
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise PluginError(f"{thing!r}{whose} cannot be imported: {reason}") from error
    return found


def name_of(thing: object) -> str:
    """The reference that *thing* is, or that of a class; nothing is imported for it."""
    if isinstance(thing, str):
        return thing
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}"
