"""The stand-in for a Qdrant server as a program that can be killed: what it was given lies on disk.

``python qdrant_server.py FOLDER PORT`` writes its address when it listens.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path

from qdrant_client import AsyncQdrantClient

if __name__ == "__main__":
    name = "stand_in_server"
    path = Path(__file__).parents[2] / "qdrant" / "tests" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    stand_in = module.StandIn()
    stand_in.local = AsyncQdrantClient(path=sys.argv[1], force_disable_check_same_thread=True)
    with module.serve_stand_in(stand_in, int(sys.argv[2])):
        sys.stdout.write(f"{stand_in.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
