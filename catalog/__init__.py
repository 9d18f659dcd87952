"""What is known about the data, and how it gets known."""
