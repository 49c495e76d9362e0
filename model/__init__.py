"""Towers, heads and objectives in torch alone."""
