"""Selections of sources, keys, trains and regions, as values."""
