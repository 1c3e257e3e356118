"""Objects of a running Python process in the places where a config has names."""
