"""Measuring commands: how quick a part is on this machine, and what it waits for."""
