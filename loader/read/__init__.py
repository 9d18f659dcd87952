"""Array data: which rows of which files, and how their bytes are read."""
