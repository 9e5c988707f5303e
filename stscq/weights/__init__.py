"""Published weights: which a profile needs, where they come from, and whether they are the right ones."""
