"""These packages are tested where they are installed: see ``tests/packaging``."""

collect_ignore_glob = ["*/tests"]
