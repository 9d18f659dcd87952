"""How run directories become rows of the catalog."""
