"""Audits: checks over catalogued runs, their findings, and the record of both."""
