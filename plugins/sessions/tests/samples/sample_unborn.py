"""A processor that cannot even be imported where it is to run."""

import os

from spark_core.contracts.sessions import ProcessorResult, SessionFile

if "MALLOC_ARENA_MAX" in os.environ:
    os._exit(9)


async def process(session: SessionFile) -> ProcessorResult:
    return ProcessorResult(1)
