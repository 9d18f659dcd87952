"""Arrays out of files, behind the documented reading API."""
