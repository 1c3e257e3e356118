"""The runner: which stages a sweep needs, and how they are carried out."""
