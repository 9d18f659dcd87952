"""Fixtures of the tests of the catalog."""

from demofacility import demo, demo_report

__all__ = ["demo", "demo_report"]
