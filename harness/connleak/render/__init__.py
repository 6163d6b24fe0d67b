"""Recording + Verdict -> files and text: pure functions, one format a file."""
