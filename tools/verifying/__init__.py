"""Verification at work: clips decoded by workers, files put back, progress shown."""
