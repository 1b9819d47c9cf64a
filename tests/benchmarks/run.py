"""Runs every benchmark, each in a process of its own.

::

    python tests/benchmarks/run.py [PATH/TO/collections] [--quick]

Without a folder of judged collections (see ``quality.py``) retrieval quality is left out, by
name. Nothing here fails because something is slow.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

SPEED = ("startup", "gateway", "engine", "backfill", "shared_index", "scheduler")


def run(name: str, *arguments: str) -> None:
    """Run one benchmark.

    :raises subprocess.CalledProcessError: it broke.
    """
    print(f"\n== {name} ==", flush=True)
    subprocess.run([sys.executable, str(HERE / f"{name}.py"), *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("collections", type=Path, nargs="?", help="judged collections")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    arguments = parser.parse_args()
    quick = ["--quick"] if arguments.quick else []
    for name in SPEED:
        run(name, *quick)
    run("transcripts", *quick)
    if arguments.collections:
        run("quality", str(arguments.collections), *quick)
    else:
        print("\n== quality ==\n\nleft out: no folder of judged collections was given")


if __name__ == "__main__":
    main()
