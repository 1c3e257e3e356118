"""The report as one page with sortable tables and charts, made on demand; needs ``sparsebench[html]``.

Nothing that it is made with is imported before ``write_report`` found it.
"""
