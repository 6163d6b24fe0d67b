"""The commands: one module each, with their options and what they print."""
