"""Fixtures of the tests of the report."""

from demofacility import demo

__all__ = ["demo"]
