"""Small durable facts that must be true of the whole cluster: leases, audit, plugins' tables.

SQLite in the data directory by default (WAL, so that several processes read while one
writes), PostgreSQL by URL when several hosts share a cluster. SQLAlchemy is imported when the
state is first used, not with this package.
"""

from .audit import AuditEntry, AuditLog
from .database import State
from .leases import Lease, Leases

__all__ = ["AuditEntry", "AuditLog", "Lease", "Leases", "State"]
