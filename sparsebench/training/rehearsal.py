"""A trainer of a user's own built on a few samples, as a run builds it, and all that is wrong with it."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import Dataset, TensorDataset

from sparsebench.errors import ContractError, SparsebenchError, UserCodeError
from sparsebench.store.scratch import scratch
from sparsebench.training.loaders import SPLITS
from sparsebench.user_code import own_code

SAMPLES = 8
_FEATURES, _BATCH = 4, 2

_ATTRIBUTES = ("datasets", "dtype", "devicy", "datasizes", "pruning", "models_path", "dataloader", "criterion")


def build_on_eight(cls: Any, name: str) -> None:
    """Build a trainer on eight samples a split, have it load them, and read a batch of each.

    Nothing is trained: what samples look like is for its networks and its data.

    Args:
        cls: a class whose signatures are right, see ``check_trainer``.
        name: its reference, for errors.

    Raises:
        ContractError: with every fault found.
    """
    problems: list[str] = []
    with scratch() as folder:
        try:
            with own_code(("trainer", name)):
                problems += _faults(cls, str(folder))
        except UserCodeError as error:
            problems.append(str(error))
        except SparsebenchError as error:
            problems.append(f"Built on {SAMPLES} samples: {error}")
        except Exception as error:  # A library refused what the trainer asked of it.
            problems.append(f"Built on {SAMPLES} samples it raised {type(error).__name__}: {error}")
    if problems:
        raise ContractError(f"{name} does not keep the trainer contract:", problems)


def _faults(cls: Any, folder: str) -> Iterator[str]:
    labels = torch.arange(SAMPLES) % 2
    datasets: list[Dataset[Any]] = [TensorDataset(torch.rand(SAMPLES, _FEATURES), labels) for _ in SPLITS]
    trainer = cls(pruning=False, ddtype=torch.float, datasets=datasets, models_path=folder, cuda="cpu")
    if missing := [attribute for attribute in _ATTRIBUTES if not hasattr(trainer, attribute)]:
        yield f"__init__ does not set {', '.join(missing)}."
    trainer.load_dataloaders(batch_size=_BATCH, collate_fn=None)
    loaders = getattr(trainer, "dataloader", None)
    if not isinstance(loaders, Mapping) or not set(SPLITS) <= set(loaders):
        yield "load_dataloaders does not leave a dictionary dataloader with 'train', 'val' and 'test'."
        return
    for split in SPLITS:
        batch = next(iter(loaders[split]), None)
        if batch is None:
            yield f"dataloader[{split!r}] has no batch of {SAMPLES} samples, {_BATCH} at a time."
        elif not isinstance(batch, tuple | list) or len(batch) != 2:
            yield f"A batch of dataloader[{split!r}] is {type(batch).__name__}; it must be (inputs, labels)."
