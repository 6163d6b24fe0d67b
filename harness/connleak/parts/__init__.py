"""Things that are started and stopped; each a context manager; none knows another."""
