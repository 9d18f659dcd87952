"""The report: the state of a catalog on one HTML page that needs no other file."""
