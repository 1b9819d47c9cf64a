"""``python -m spark_core_cli`` is ``spark``."""

from .main import main

main()
