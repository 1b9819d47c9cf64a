"""Standard output is for results: what anything else prints meanwhile goes to standard error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TextIO

__all__ = ["results_only"]


@contextmanager
def results_only() -> Iterator[TextIO | None]:
    """While the block runs, what is printed goes to standard error, also by a child or in C.

    Results are written to what is yielded; that is None where standard output is closed.
    """
    with ExitStack() as stack:
        results = _moved(stack)
        stack.enter_context(redirect_stdout(sys.stderr))
        yield results


def _moved(stack: ExitStack) -> TextIO | None:
    """Standard output where it can still be reached; its descriptor leads to standard error."""
    output, error = _descriptor(sys.stdout), _descriptor(sys.stderr)
    if output is None or error is None:
        return sys.stdout
    sys.stdout.flush()
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    copy = os.fdopen(os.dup(output), "w", encoding=encoding, errors=errors)
    results = stack.enter_context(copy)
    os.dup2(error, output)
    stack.callback(os.dup2, results.fileno(), output)
    return results


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return stream.fileno() if stream else None
    except io.UnsupportedOperation:  # one in memory
        return None
