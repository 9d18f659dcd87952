"""Fixtures of the tests of the report."""

from support.demo_facility import demo, demo_and_report

__all__ = ["demo", "demo_and_report"]
