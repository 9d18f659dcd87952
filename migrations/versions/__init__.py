"""Hand-written revisions, forward only, one transaction each."""
