"""The connection to a Ray cluster: finding or starting one, its nodes, and which of them may time."""

import io
import logging
import os
import signal
import site
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from sparsebench import __version__
from sparsebench.config import RayConfig
from sparsebench.errors import ConfigError, SparsebenchError
from sparsebench.runner.executors.ray_worker import Origin, identity

OBJECT_STORE_BYTES = 100_000_000
"""Of a cluster that is started here. Only tasks and records travel by it; networks and data do not."""

PROBE_SECONDS = 180.0
"""A node must have answered by then; it may have to start a worker first, from a slow disk."""

LOOK_SECONDS = 1.0
"""What nodes there are is asked this often at most."""


@dataclass(frozen=True)
class Node:
    """A living node of the cluster and what Ray gives out there."""

    id: str
    resources: Mapping[str, float]

    def of(self, resource: str) -> float:
        """Return how much there is of a resource, such as CPU or GPU."""
        return self.resources.get(resource, 0.0)


class Cluster:
    """A Ray cluster as the executor sees it; ``origin`` is what a worker must know of this driver.

    Where no address (``host:port``) is given, it is that of ``RAY_ADDRESS``, else a cluster that runs on this machine,
    else one that is started here for as long as the run lasts.
    """

    def __init__(self, config: RayConfig, address: str | None) -> None:
        self.origin = Origin(version=__version__, paths=own_paths())
        self._config, self._address = config, address or os.environ.get("RAY_ADDRESS")
        self._ray: Any = None
        self._own_connection = False
        self._nodes: tuple[float, list[Node]] | None = None

    @property
    def ray(self) -> Any:
        """Ray itself, connected to the cluster; an error where that is not possible."""
        if self._ray is None:
            ray = _import_ray()
            if not ray.is_initialized():
                _connect(ray, self._address)
                self._own_connection = True
            self._ray = ray
            sys.stdout = cast("Any", _WithoutRay(sys.stdout))
        return self._ray

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._ray is not None

    def close(self) -> None:
        """Give up the connection, and with it all tasks; a cluster that was started for it ends."""
        if self._ray is not None and self._own_connection:
            # What Ray has not printed yet, it prints when it ends.
            nowhere, quiet = io.StringIO(), warnings.catch_warnings(action="ignore")
            with quiet, _signals_kept(), redirect_stdout(nowhere), redirect_stderr(nowhere):
                self._ray.shutdown()
        stdout: Any = sys.stdout
        if isinstance(stdout, _WithoutRay):
            sys.stdout = stdout.stream
        self._ray, self._own_connection, self._nodes = None, False, None

    def nodes(self) -> list[Node]:
        """Return the living nodes, as they were a moment ago."""
        now = time.monotonic()
        if self._nodes is None or now - self._nodes[0] > LOOK_SECONDS:
            self._nodes = now, [Node(one["NodeID"], one["Resources"]) for one in self.ray.nodes() if one["Alive"]]
        return self._nodes[1]

    def benches(self) -> list[Node]:
        """Return the nodes that may time: those with the resource of the config, or this driver's own."""
        wanted = self._config.measure_resource
        return [node for node in self.nodes() if (node.of(wanted) if wanted else node.id == self.own_node)]

    @property
    def own_node(self) -> str:
        """The node that this driver is connected to."""
        return str(self.ray.get_runtime_context().get_node_id())

    def on(self, node: str) -> Any:
        """Return the scheduling strategy that keeps a task to a node."""
        return self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)

    def timing_machine(self) -> Mapping[str, str]:
        """Return the identity of the machines on which networks are timed.

        Raises:
            ConfigError: where no node may time, or those that may are of several kinds.
            SparsebenchError: where one does not answer, or has another sparsebench.
        """
        benches = self.benches()
        if not benches:
            wanted = self._config.measure_resource
            problem = (
                f"ray.measure_resource = {wanted!r}: no node of the cluster has that resource. Start one with "
                f"ray start --address=HOST:PORT --num-cpus=0 --resources='{{\"{wanted}\": 1}}'."
            )
            raise ConfigError("The run was not started:", [problem])
        probe = self.ray.remote(identity)
        asked = [
            probe.options(num_cpus=0, max_retries=0, scheduling_strategy=self.on(node.id)).remote(self.origin)
            for node in benches
        ]
        try:
            found = self.ray.get(asked, timeout=PROBE_SECONDS)
        except self.ray.exceptions.RayError as error:
            raise cannot_run(error) from error
        kinds = list(dict.fromkeys(tuple(sorted(one.items())) for one in found))
        if len(kinds) > 1:
            raise ConfigError(
                f"The nodes with resource {self._config.measure_resource!r} are of {len(kinds)} kinds, whose latencies "
                "cannot be compared. Give the resource to nodes of one kind only:",
                [", ".join(f"{name} {value}" for name, value in kind) for kind in kinds],
            )
        return dict(kinds[0])

    def check_resources(self, device: str) -> None:
        """Refuse what no node can ever give; Ray would wait for it without end."""
        cpus, gpus = (max((node.of(kind) for node in self.nodes()), default=0.0) for kind in ("CPU", "GPU"))
        problems = []
        if self._config.cpus > cpus:
            problems.append(f"ray.cpus = {self._config.cpus}, but no node of the cluster has more than {cpus:g} CPUs.")
        if device.startswith("cuda") and 0 < gpus < self._config.gpus:
            problems.append(
                f"ray.gpus = {self._config.gpus:g}, but no node of the cluster has more than {gpus:g} GPUs."
            )
        if problems:
            raise ConfigError("The run was not started:", problems)


def own_paths() -> tuple[str, ...]:
    """Return where this process finds modules that are not installed with its interpreter; workers look there too."""
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed |= {Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())}
    paths = [Path(entry or ".").resolve() for entry in sys.path]
    return tuple(dict.fromkeys(str(path) for path in paths if path.is_dir() and not installed & {path, *path.parents}))


def cannot_run(error: BaseException) -> SparsebenchError:
    """Return the error of a node that cannot do tasks of this run at all."""
    cause = getattr(error, "cause", None) or error
    return SparsebenchError(f"A node of the Ray cluster cannot do tasks of this run: {_first_line(cause)}")


def _import_ray() -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            import ray.util.scheduling_strategies
    except ImportError as error:
        raise SparsebenchError(
            "The executor 'ray' needs Ray, which is not installed: pip install 'sparsebench[ray]'."
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connect to the cluster at ``address``, or to one that runs here, or start one here."""
    if address and address.startswith("ray://"):
        raise SparsebenchError(
            f"The address {address!r} is that of a Ray client server. The driver must run on a node of the cluster: "
            "log in to one and leave the address out, or give HOST:PORT."
        )
    # Nothing is reported to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(own_paths())}}
    init = partial(ray.init, logging_level=logging.ERROR, log_to_driver=False, runtime_env=paths)
    with warnings.catch_warnings(action="ignore"), _signals_kept():
        try:
            init(address=address or "auto")
        except Exception as error:
            if address is None and isinstance(error, ConnectionError):
                init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES)
                return
            raise SparsebenchError(
                f"Cannot use the Ray cluster at {address or 'auto'}: {_first_line(error)} Start a cluster with "
                "'ray start --head', join other nodes to it, and give its address with --ray-address."
            ) from error


class _WithoutRay:
    """A stdout to which threads of Ray write in vain.

    Whatever ``log_to_driver`` says, Ray prints the last lines of the log of each node that is lost. What that means for
    the run is said by the executor.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Restore what a termination signal does, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
