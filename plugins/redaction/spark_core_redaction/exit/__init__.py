"""The guarded exit: to models outside."""
