"""How pytest is started with the plugin in it."""

from importlib.metadata import entry_points

LOADED = any(point.name == "sparsebench" for point in entry_points(group="pytest11"))

# An environment in which the package is not installed has no entry point to load the plugin by.
PLUGIN = () if LOADED else ("-p", "sparsebench.pytest_plugin")
