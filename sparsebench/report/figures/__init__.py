"""The figures of a report: one description of each, from the points, which pictures and the charts of a page draw."""
