"""What goes wrong in a plugin is that plugin's failure: it does not take its host along."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["ENDINGS", "contained"]

#: What is meant for the program or the task, whoever's code it is raised in. Everything else is
#: contained, also what is no ``Exception``: ``sys.exit``, or the panic of a native extension.
ENDINGS: Final = (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Whatever the block raises is an ``Exception``: a host handles these.

    :raises RuntimeError: *what* raised something else, which is its cause.
    """
    try:
        yield
    except (Exception, *ENDINGS):
        raise
    except SystemExit as error:
        raise RuntimeError(f"{what} tried to end the program") from error
    except BaseException as error:
        raise RuntimeError(f"{what} failed with {type(error).__qualname__}") from error
