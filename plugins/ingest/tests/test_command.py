"""``spark ingest backfill``, as somebody who has set something up types it."""

from __future__ import annotations

import socket
import subprocess
import sys

SETTINGS = """
[plugins.bge_m3]
url = "{url}"
retries = 0

[plugins.ingest]
database = "crm.db"

[plugins.ingest.kinds.note]
table = "t"
id = "rowid"
text = "text"
"""


def test_an_embedder_that_is_not_there_is_told_in_one_sentence(database, tmp_path):
    """It names the address, and no trace of the program."""
    database.run("CREATE TABLE t (text); INSERT INTO t VALUES ('hello')")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    settings = tmp_path / "spark.toml"
    settings.write_text(SETTINGS.format(url=url))
    spark = [sys.executable, "-m", "spark_core_cli", "--config", str(settings)]
    for words in (["ingest", "backfill"], ["ingest", "backfill", "--recreate"]):
        done = subprocess.run([*spark, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1
        (line,) = (line for line in done.stderr.splitlines() if "error" in line)
        assert f"{url}/v1/embeddings cannot be reached" in line
        assert "Traceback" not in done.stderr
