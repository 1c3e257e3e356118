"""What ``sparsebench init`` does: it looks at what lies in a folder, and writes a config for it. No code is run."""
