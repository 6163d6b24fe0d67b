"""The run folder: its format, writer and reader."""
