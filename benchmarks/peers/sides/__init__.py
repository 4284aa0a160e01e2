"""Both sides of each comparison, a file a library; each is imported in the environment of its own side alone."""
