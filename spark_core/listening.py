"""Sockets that hosts listen with: bound before anything else starts, so that a taken port is
one clear line."""

from __future__ import annotations

import errno
import socket

from .errors import SparkError

__all__ = ["listen", "url_of"]


def listen(host: str, port: int, *, backlog: int = 2048) -> socket.socket:
    """A TCP socket that listens at *host* and *port* (0: a free one); IPv6 where *host* is.

    :raises SparkError: it cannot be had: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).partition(" (")[0]
        hint = "--port takes another" if error.errno == errno.EADDRINUSE else None
        raise SparkError(f"cannot listen at {host} port {port}: {reason}", hint=hint) from error


def url_of(listener: socket.socket) -> str:
    """Where what listens there is found, without a slash at the end."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
