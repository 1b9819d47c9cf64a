"""Jobs run by `spark serve`: once, however many worker processes there are."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

TOML = """
[http]
port = 0
workers = 3
[plugins.scheduler]
in_host = true
lease_s = 5
[plugins.scheduler.jobs.once]
schedule = "every 9999h"
operation = "plugins"
"""


def asked(url: str, method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method, data=b"{}" if method == "POST" else None)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"{}")


@pytest.mark.slow
def test_three_workers_run_a_job_once_and_answer_for_it(spark_home: Path) -> None:
    """It is the oldest complaint about schedulers in web servers: once per worker."""
    (spark_home / "spark.toml").write_text(TOML)
    command = [sys.executable, "-m", "spark_core_cli", "serve"]
    with subprocess.Popen(command, cwd=spark_home, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[^ ]+", process.stdout.readline())
            assert found is not None
            url, end = found[0], time.monotonic() + 120
            while True:
                with_it = asked(f"{url}/api/jobs/history?name=once")["runs"]
                if with_it and with_it[0]["state"] == "ok":
                    break
                assert time.monotonic() < end
                time.sleep(0.2)
            time.sleep(3)  # the other two could have begun one as well
            assert len(asked(f"{url}/api/jobs/history?name=once")["runs"]) == 1
            assert asked(f"{url}/api/jobs/once/run", "POST")["state"] == "requested"
            while len(asked(f"{url}/api/jobs/history?name=once")["runs"]) < 2:
                assert time.monotonic() < end
                time.sleep(0.2)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                asked(f"{url}/api/jobs/other/pause", "POST")
            listed = asked(f"{url}/api/jobs")
            assert "once" in [job["name"] for job in listed["jobs"]]
        finally:
            process.send_signal(signal.SIGINT)
