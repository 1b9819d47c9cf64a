"""What is found in a text."""
