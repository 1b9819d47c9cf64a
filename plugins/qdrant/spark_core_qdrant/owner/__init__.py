"""The process that owns an embedded index: ``python -m spark_core_qdrant.owner DIRECTORY``.

Qdrant Edge holds Python's global lock in every call and lets one process open a directory, so
it lives in a small process of its own. Nothing here imports more than it must: starting the
owner is part of somebody's first search.
"""
