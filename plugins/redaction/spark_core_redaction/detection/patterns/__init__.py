"""What is found by its written shape alone, whether or not it is valid."""
