"""What can be asked over all runs."""
