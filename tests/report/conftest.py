"""Fixtures of the tests of the report."""

from support.demo_facility import demo

__all__ = ["demo"]
