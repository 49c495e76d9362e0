"""The doors: every command a person types."""
