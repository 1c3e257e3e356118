"""The config of a sweep, and how it is read from a TOML file and overrides, or all that is wrong with them."""

import copy
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from sparsebench.config.bounds import RANGES, TOO_DEEP, TOO_LONG, excess
from sparsebench.config.components import BackendConfig, PrunerConfig
from sparsebench.config.processors import of_the_network
from sparsebench.config.search import SearchConfig
from sparsebench.config.sections import (
    Axis,
    CollateConfig,
    DataConfig,
    Fraction,
    Increasing,
    MeasureConfig,
    ModelConfig,
    NamedTables,
    PruneConfig,
    QuantizeConfig,
    RayConfig,
    RunConfig,
    Section,
    Tables,
    named,
    table,
)
from sparsebench.config.together import every, weights_problem
from sparsebench.config.training import (
    DistillConfig,
    LearningScheduleConfig,
    MetricConfig,
    OptimizerConfig,
    QatConfig,
    TrainConfig,
    is_accuracy,
)
from sparsebench.errors import ConfigError
from sparsebench.registry import BACKENDS, SCHEMES, nearest
from sparsebench.store.fields import LEFT_OUT
from sparsebench.wording.text import counted, near_file, shorten


def _no_number_of_seeds(value: Any) -> Any:
    """Refuse ``seeds = 3``, which reads as three seeds and is one."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        several = f"[0, …, {value - 1}]" if value > 5 else list(range(value))
        raise ValueError(f"it may mean {counted(value, 'seed')} or seed {value}; write {several}, or [{value}].")
    return value


_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _fit_for_a_directory(name: str) -> str:
    if not _RUN_NAME.fullmatch(name):
        raise ValueError(
            "a run name has letters, digits, '.', '_' and '-', begins with a letter or digit, at most 100."
        )
    return name


class SweepConfig(Section):
    """Everything a run is made from. The axes stand first; their product is the set of trials."""

    name: Annotated[str, AfterValidator(_fit_for_a_directory)] = Field(
        "default", description="Names the run directory and the report: letters, digits, '.', '_' and '-'."
    )
    thresholds: Increasing[Fraction] = Field(
        (0.0, 0.5, 0.8, 0.9, 0.95),
        min_length=1,
        description="Fractions of the prunable weights that are zero, or removed, at the end; 0 is the dense control.",
    )
    schemes: Annotated[Axis[Annotated[str, named(SCHEMES)]], every(SCHEMES)] = Field(
        ("fp32", "dynamic", "static", "both"),
        min_length=1,
        description="Numeric formats; see 'sparsebench list schemes'. 'all' stands for all of them.",
    )
    seeds: Annotated[Axis[Annotated[int, Field(ge=0, lt=2**32)]], BeforeValidator(_no_number_of_seeds)] = Field(
        (0, 1, 2), min_length=1, description="Each is a training of its own; three or more give error bars."
    )
    pruners: NamedTables[PrunerConfig] = Field(
        (PrunerConfig(name="magnitude"),), min_length=1, description="How weights are chosen: names, or tables."
    )
    backends: Annotated[NamedTables[BackendConfig], every(BACKENDS)] = Field(
        (BackendConfig(name="eager"),), min_length=1, description="What runs the network: names, tables, or 'all'."
    )
    model: Tables[ModelConfig] = Field((ModelConfig(),), min_length=1, description="The network, or several.")
    data: Annotated[Tables[DataConfig], AfterValidator(of_the_network)] = Field(
        (DataConfig(),), min_length=1, description="The data, or several sets."
    )
    metric: Annotated[MetricConfig, BeforeValidator(table), Field(exclude_if=is_accuracy)] = MetricConfig()
    train: TrainConfig = TrainConfig()
    prune: PruneConfig = PruneConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    qat: QatConfig = QatConfig()
    measure: MeasureConfig = MeasureConfig()
    run: RunConfig = RunConfig()
    ray: RayConfig = RayConfig()
    search: Annotated[SearchConfig | None, LEFT_OUT] = None

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "SweepConfig":
        if problem := weights_problem(self.model, self.train):
            raise ValueError(problem)
        return self


SECTIONS: Mapping[str, type[Section]] = {
    "": SweepConfig,
    "model": ModelConfig,
    "pruners": PrunerConfig,
    "backends": BackendConfig,
    "data": DataConfig,
    "data.collate": CollateConfig,
    "metric": MetricConfig,
    "train": TrainConfig,
    "train.optimizer": OptimizerConfig,
    "train.learning_schedule": LearningScheduleConfig,
    "train.distill": DistillConfig,
    "prune": PruneConfig,
    "quantize": QuantizeConfig,
    "qat": QatConfig,
    "measure": MeasureConfig,
    "run": RunConfig,
    "ray": RayConfig,
    "search": SearchConfig,
}
"""Every section by its name; the axes and the sections themselves stand in that without a name."""


def default_toml() -> str:
    """Return the text of the config that ``sparsebench run`` sweeps when it is given none."""
    return files("sparsebench").joinpath("default.toml").read_text(encoding="utf-8")


def load_config(
    path: str | os.PathLike[str] | Mapping[str, Any] | SweepConfig | None = None, overrides: Iterable[str] = ()
) -> SweepConfig:
    """Read a config from TOML and apply overrides.

    Args:
        path: the TOML file, or its content as a mapping, or a config; None for the embedded default.
        overrides: assignments ``section.key=value``, the value in TOML or as bare text.

    Returns:
        The resolved config.

    Raises:
        ConfigError: with every fault found, each naming the file, the key, what was found and what is allowed.
    """
    source, data = _content(path)
    overrides = list(overrides)
    problems = [problem for problem in (_override(data, text) for text in overrides) if problem]
    try:
        config = SweepConfig.model_validate(data)
    except ValidationError as error:
        overridden = {text.partition("=")[0].strip(): f"--set {text}" for text in overrides}
        problems += [_sentence(source, overridden, fault) for fault in error.errors() if not _is_echo(fault)]
    if problems:
        raise _unusable(*problems)
    return config


def _unusable(*problems: str) -> ConfigError:
    return ConfigError(f"The config cannot be used ({len(problems)} problem{'s' * (len(problems) > 1)}):", problems)


def _content(path: str | os.PathLike[str] | Mapping[str, Any] | SweepConfig | None) -> tuple[str, dict[str, Any]]:
    if path is None:
        return "embedded default config", tomllib.loads(default_toml())
    if isinstance(path, SweepConfig):
        return "the config", path.model_dump(mode="json")
    if isinstance(path, Mapping):
        if problem := excess(dict(path)):
            raise _unusable(f"the config: {problem}.")
        return "the config", copy.deepcopy(dict(path))
    return str(path), _read(Path(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        if problem := excess(found):
            raise _unusable(f"{path}: {problem}.")
        return found
    except FileNotFoundError:
        near = near_file(path, (".toml",))
        hint = f" Did you mean {str(near)!r}?" if near else " Give the path of an existing TOML file."
        raise _unusable(f"{path}: there is no such file.{hint}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _unusable(f"{path}: this is not valid TOML: {error}.") from error
    except (ValueError, RecursionError) as error:  # Python's own limits, which lie beyond ours.
        raise _unusable(f"{path}: {TOO_DEEP if isinstance(error, RecursionError) else TOO_LONG}.") from error
    except OSError as error:
        raise _unusable(f"{path}: cannot be read: {error.strerror}.") from error


def _override(data: dict[str, Any], text: str) -> str | None:
    key, separator, raw = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not separator or not all(path):
        return f"--set {text}: write it as section.key=value, for example --set train.epochs=20."
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    except (ValueError, RecursionError) as error:
        return f"--set {shorten(text, 60)}: {TOO_DEEP if isinstance(error, RecursionError) else TOO_LONG}."
    if problem := excess(value):
        return f"--set {shorten(text, 60)}: {problem}."
    target: Any = data
    for part in path[:-1]:
        if isinstance(target, list):
            if len(target) != 1:
                return f"--set {text}: the config has {len(target)} [[{path[0]}]] tables; set this in the file."
            target = target[0]
        target = target.setdefault(part, {})
        if isinstance(target, str):
            return f"--set {text}: {part} is a name there; write {part}.name={target!r} as a table first."
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    if not isinstance(target, dict):
        return f"--set {text}: {'.'.join(path[:-1])} is no section of the config."
    target[path[-1]] = value
    return None


def _is_echo(fault: ErrorDetails) -> bool:
    """Whether a fault only follows from another: a list is 'too short' once its wrong items are dropped."""
    return fault["type"] == "too_short" and bool(fault["input"])


def _sentence(source: str, overridden: Mapping[str, str], fault: ErrorDetails) -> str:
    names = [str(part) for part in fault["loc"] if not isinstance(part, int)]
    key = ".".join(names)
    return f"{overridden.get(key, source)}: {key or 'the config'}{_what(fault, names, key)}"


def _what(fault: ErrorDetails, names: Sequence[str], key: str) -> str:
    found, context = fault["input"], fault.get("ctx", {})
    allowed = RANGES.get(key, "it must be above 0")
    match fault["type"]:
        case "less_than_equal" if key not in RANGES:
            return f" = {shorten(repr(found), 40)} is out of range; at most {context['le']} is allowed."
        case "extra_forbidden":
            return f" is no key of {_known(names)}"
        case "value_error" if isinstance(found, Mapping):
            return f": {context['error']}"
        case "value_error":
            return f" = {found!r}: {context['error']}"
        case "greater_than_equal" | "less_than" | "less_than_equal" | "greater_than" | "finite_number":
            return f" = {found!r} is out of range; {allowed}."
        case "float_parsing" | "float_type":
            return f" = {found!r} is no number; {allowed}."
        case "int_parsing" | "int_type" | "int_from_float":
            return f" = {found!r} is no whole number; {allowed}."
        case "missing":
            return " is missing; give it."
        case "dict_type" | "model_type" | "model_attributes_type":
            return f" = {found!r} is no table; write it as [{key}], or {{ ... }}."
        case "string_type":
            return f" = {found!r} is no text; put it in quotes."
        case "bool_type" | "bool_parsing":
            return f" = {found!r} is not allowed; write true or false."
        case "too_short":
            return " is empty; name at least one value."
        case "literal_error":
            return f" = {found!r} is not allowed; choose {context['expected']}."
        case "string_pattern_mismatch":
            return f" = {found!r} is not allowed; write 'cpu', 'cuda' or 'cuda:0'."
    return f" = {found!r}: {fault['msg'].replace('Input should', 'it must')}."


def _known(names: Sequence[str]) -> str:
    section = ".".join(names[:-1])
    allowed = sorted(SECTIONS.get(section, SweepConfig).model_fields)
    guess = nearest(names[-1], allowed)
    suggestion = f" Did you mean {guess!r}?" if guess else ""
    return f"{f'[{section}]' if section else 'the top level'}.{suggestion} Allowed there: {', '.join(allowed)}."
