"""The contract of what can take the model off the GPU for a while, for another program."""

from __future__ import annotations

from typing import Protocol

__all__ = ["GpuRelease"]


class GpuRelease(Protocol):
    """Takes the model off the GPU, and brings it back.

    Both may be called again after they succeeded, failed or were cut off at any point, also by
    another process, and then finish what is left to do, which may be nothing. No guard is asked:
    they are called for the holder of the reservation itself, or when it is over.
    """

    async def release(self, reason: str) -> str:
        """Take the model off, and return when the memory is free; gives the swap's id.

        Whoever looks at the swap is told *reason*.

        :raises SparkError: the model is not off, for instance because another swap runs.
        """
        ...

    async def restore(self) -> str | None:
        """Bring back what :meth:`release` took off; gives the swap's id, None without one.

        Where another model was loaded since, it stays.

        :raises SparkError: it is not back yet.
        """
        ...

    async def is_free(self) -> bool:
        """Whether no model is on it, nor is one being loaded, as far as is known."""
        ...
