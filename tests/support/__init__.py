"""Helpers of the tests: runs to read, oracles to compare with, and what counts opens."""
