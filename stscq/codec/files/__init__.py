"""Photos to compressed files and archives, and these back to pictures."""
