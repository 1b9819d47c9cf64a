"""The server ``spark-embed``: BGE-M3 and its reranker behind OpenAI's and Cohere's shapes.

What it needs is the extra ``server``; without it this package is found, and says so.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

NEEDED = ("click", "falcon", "torch", "transformers", "uvicorn")


def main() -> None:
    """Run the command, or say what it misses."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        sys.exit(f"spark-embed needs {', '.join(missing)}: pip install 'spark-core-bge-m3[server]'")
    from .command import command

    command()
