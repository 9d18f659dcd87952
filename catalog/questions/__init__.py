"""Questions over all runs of the catalog."""
