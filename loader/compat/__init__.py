"""Stand-ins for the modules of EXtra-data, for programs that import it: see ``install``."""
