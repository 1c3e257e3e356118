"""Numbers and text as people read and write them. Every room may ask."""
