"""Plug-ins: one file a tracker, each through its own library."""
