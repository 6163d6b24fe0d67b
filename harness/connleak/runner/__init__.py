"""Plan -> recording -> report: the only room with a clock."""
