"""Doing the work of one run: an operation of ours, or an HTTP call.

It imports httpx: import it where runs are done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx

from spark_core import Spark
from spark_core.errors import NotConfigured, SparkError
from spark_core.http_client import open_client
from spark_core.state import AuditLog

from .book import Ended, Run, RunState
from .jobs import Call, Planned

__all__ = ["ACTOR", "Worker", "open_worker"]

#: As whom the audit names the scheduler.
ACTOR: Final = "scheduler@system.local"

log = logging.getLogger(__name__)


class Worker:
    """Does the work. In flight is what it has not returned from."""

    def __init__(
        self, spark: Spark, audit: AuditLog, patience: float, stack: AsyncExitStack
    ) -> None:
        self._spark = spark
        self._audit = audit
        self._patience = patience
        self._stack = stack
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def do(self, job: Planned, run: Run) -> Ended:
        """Do the work of *run* of *job*; whatever it fails with is how it ended."""
        try:
            if isinstance(job.work, Call):
                return await self._audited(job, run, job.work)
            return await self._invoke(job)
        except NotConfigured as error:
            return Ended(RunState.SKIPPED, error.message)
        except SparkError as error:
            return Ended(RunState.FAILED, f"{error.code}: {error.message}")
        except Exception as error:
            return _failed(error)

    async def _invoke(self, job: Planned) -> Ended:
        """Run the operation. When its time is over it is cancelled, and in flight until it ends."""
        assert not isinstance(job.work, Call)
        try:
            async with asyncio.timeout(job.timeout) as limit:
                await self._spark.call(job.work.operation, job.work.request, caller=ACTOR)
        except TimeoutError:
            if not limit.expired():
                raise
            return Ended(RunState.TIMED_OUT, f"cancelled after {job.timeout:g} s")
        return Ended(RunState.OK)

    # ----------------------------------------------------------------------------------- calls

    async def _audited(self, job: Planned, run: Run, call: Call) -> Ended:
        """Call, and leave an entry in the audit, as operations do themselves."""
        ended = Ended(RunState.INTERRUPTED, "interrupted")
        try:
            ended = await self._call(job, run, call)
        except Exception as error:
            ended = _failed(error)
        finally:
            await self._record(job, run, ended)
        return ended

    async def _record(self, job: Planned, run: Run, ended: Ended) -> None:
        """Leave the entry. The call was made, so it does not fail where the state is away."""
        resource, outcome = f"job:{job.name}", ended.state.value
        detail = {"key": run.key, "outcome": ended.outcome}
        try:
            await self._audit.record(
                ACTOR, "scheduler.call", resource=resource, outcome=outcome, detail=detail
            )
        except SparkError as error:
            log.warning("a call of job %s is not in the audit: %s", job.name, error.code)

    async def _call(self, job: Planned, run: Run, call: Call) -> Ended:
        """Call, and be in flight until an answer or the connection's end is there.

        After the timeout the run has failed; but the other side may still be at work, so the
        next one waits for it, within reason.
        """
        asking = asyncio.create_task(self._ask(call, run))
        try:
            done, _ = await asyncio.wait([asking], timeout=job.timeout)
            if done:
                return asking.result()
            await asyncio.wait([asking], timeout=self._patience)
            late = f"; {asking.result().outcome} came later" if asking.done() else ""
            return Ended(RunState.TIMED_OUT, f"no answer within {job.timeout:g} s{late}")
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self, call: Call, run: Run) -> Ended:
        headers = {b"Idempotency-Key": run.key.encode()}
        if call.token is not None:  # as bytes: it may hold any signs
            token = call.token.get_secret_value().encode(errors="surrogateescape")
            headers[b"Authorization"] = b"Bearer " + token
        url = httpx.URL(call.url)
        client = await self._client(str(url.copy_with(raw_path=b"/", fragment=None)))
        body = None if call.body is None else call.body
        request = client.build_request(call.method, url, headers=list(headers.items()), json=body)
        try:
            answer = await client.send(request, stream=True)
            try:
                async for _ in answer.aiter_raw():  # the work ends when the answer does
                    pass
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            return Ended(RunState.FAILED, type(error).__name__)
        state = RunState.OK if answer.status_code < 400 else RunState.FAILED
        return Ended(state, f"status {answer.status_code}")

    async def _client(self, origin: str) -> httpx.AsyncClient:
        """One client for each server; it waits as long as its caller does."""
        if origin not in self._clients:
            client = open_client(origin)
            client.timeout = httpx.Timeout(None, connect=5.0)
            self._clients[origin] = await self._stack.enter_async_context(client)
        return self._clients[origin]


def _failed(error: Exception) -> Ended:
    """What nobody foresaw; its text may quote anything."""
    return Ended(RunState.FAILED, f"failed: {type(error).__name__}")


@asynccontextmanager
async def open_worker(spark: Spark, patience: float) -> AsyncIterator[Worker]:
    """A worker for the operations of *spark*, and for calls."""
    audit = await spark.resolver.get(AuditLog)
    async with AsyncExitStack() as stack:
        yield Worker(spark, audit, patience, stack)
