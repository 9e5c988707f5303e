"""Where a file came from, and whether it is what parameters, data and code say."""
