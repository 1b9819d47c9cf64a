"""Nothing about this machine is told to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EMBED = """
import asyncio
from spark_core_fastembed.embedder import open_embedder
from spark_core_fastembed.settings import FastembedSettings

async def main():
    async with open_embedder(FastembedSettings(threads=1)) as embedder:
        await embedder.embed(["Ada Example"])

asyncio.run(main())
"""


def test_no_report_is_prepared(tmp_path: Path) -> None:
    """onnxruntime keeps reports to its makers in the home directory: it gets none to keep."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    subprocess.run(
        [sys.executable, "-c", EMBED], env={**environ, "HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.rglob("*")) == []
