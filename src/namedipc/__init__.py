"""Typed IPC between processes on one machine, named by a filesystem path."""

__version__ = "0.1.0"
