"""Runs, sources and keys as text, HTML and pictures."""
