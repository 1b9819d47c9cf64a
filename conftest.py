"""What no test may do, wherever it lies."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where ``CI`` is set, a test that is left out has failed: there nothing may be missing.

    One that is marked ``privileged`` is left out by name, as the machine may refuse what it needs;
    one that is marked ``extra``, as what it needs changes what other tests would see.
    """
    report = yield
    left_out = report.skipped and not hasattr(report, "wasxfail")
    may_be = any(map(item.get_closest_marker, ("privileged", "extra")))
    if left_out and os.environ.get("CI") and not may_be:
        report.outcome = "failed"
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"left out although CI is set: {reason}"
    return report
