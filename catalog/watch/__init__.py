"""How does the catalog keep up with runs that are being written? See ``watch``."""
