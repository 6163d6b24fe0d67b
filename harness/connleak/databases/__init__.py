"""Kinds of database: how each is started or opened, how the app reaches it, and how its sessions are read."""
