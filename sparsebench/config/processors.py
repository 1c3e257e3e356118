"""Whose processor makes inputs of data, where that of the network is asked for."""

from pydantic import ValidationInfo

from sparsebench.config.sections import DataConfig, ModelConfig
from sparsebench.hub import OF_NETWORK, PREFIX, PROCESSOR


def of_the_network(data: tuple[DataConfig, ...], info: ValidationInfo) -> tuple[DataConfig, ...]:
    """Return data that name a processor, in place of ``processor = "network"``: that of the one network that has one.

    Raises:
        ValueError: where there is none, or there are several.
    """
    models: tuple[ModelConfig, ...] = info.data.get("model", ())
    named = {model.name for model in models if model.name.startswith(PREFIX)}
    asking = [one for one in data if one.options.get(PROCESSOR) == OF_NETWORK]
    if asking and models and len(named) != 1:
        found = f"there are several ({', '.join(sorted(named))})" if named else "there is none"
        raise ValueError(
            f"{PROCESSOR} = '{OF_NETWORK}' is that of the network of transformers, and {found}; name it: "
            f"{PROCESSOR} = '{PREFIX}NAME'."
        )
    if not asking or not named:
        return data
    own = {PROCESSOR: named.pop()}
    return tuple(one.model_copy(update={"options": {**one.options, **own}}) if one in asking else one for one in data)
