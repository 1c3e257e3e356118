"""Tools of this repository that are no part of the package: generated tables and formulas of the documentation."""
