"""The people and firms that are known, found by every way in which they are written."""
