"""Pruners and backends as a config names them: a name, options, and a label that tells them apart."""

from typing import Annotated, Any

from pydantic import Field

from sparsebench.config.sections import Fraction, Increasing, Section, named
from sparsebench.registry import BACKENDS, PRUNERS


class Component(Section):
    """A component by name and its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """The component as it is named in records: ``n_m(m=4, n=1)``."""
        shown = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.name}({shown})" if shown else self.name


class PrunerConfig(Component):
    """A pruner by name and its options, such as ``{ name = "n_m", options = { n = 1, m = 4 } }``."""

    name: Annotated[str, named(PRUNERS)] = Field(description="The pruner, from 'sparsebench list pruners'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the pruner.")
    thresholds: Increasing[Fraction] | None = Field(
        None, min_length=1, description="Its own thresholds, in place of the sweep's."
    )

    @property
    def label(self) -> str:
        """The pruner as it is named in records; of groups with their thresholds, ``by_group(conv1 0.2, fc.* 0.9)``."""
        groups = self.options.get("thresholds")
        if self.name != "by_group" or not isinstance(groups, dict):
            return super().label
        others = {key: value for key, value in self.options.items() if key != "thresholds"}
        told = [f"{key}={value}" for key, value in sorted(others.items())]
        return f"{self.name}({', '.join([*(f'{group} {own}' for group, own in sorted(groups.items())), *told])})"

    @property
    def what_matters(self) -> dict[str, Any]:
        """What a network that it prunes depends on, beside the threshold."""
        return self.model_dump(mode="json", exclude={"thresholds"})


class BackendConfig(Component):
    """A backend by name and its options, such as ``{ name = "openvino", options = { preset = "mixed" } }``."""

    name: Annotated[str, named(BACKENDS)] = Field(description="The backend, from 'sparsebench list backends'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the backend.")
