"""The config that ``sparsebench init`` writes, and what it says of it."""

import json
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparsebench.cli.init.checkpoints import classes_and_channels, find_checkpoints, recognise
from sparsebench.cli.init.code import read_code
from sparsebench.cli.init.data import Data, classes_without_a_folder, find_data
from sparsebench.cli.init.hugging_face import Folder, find_networks, find_tables
from sparsebench.errors import SparsebenchError
from sparsebench.wording.text import first_of, slug

BATCH = 64
BATCHES_AN_EPOCH = 8
"""Training batches that an epoch has at least, of few samples: batches get smaller then."""

DIGITS = Data(name="digits", what="", samples="images", shape=(1, 8, 8), classes=10, training=1077)
CIFAR10 = Data(name="cifar10", what="", samples="images", shape=(3, 32, 32), classes=10, training=45_000)

NETWORKS = {"images": "small_cnn", "sequences": "gru_classifier", "vectors": "mlp"}
"""A network by name for each kind of sample, where a folder has none of its own."""

SCHEMES = {"sequences": '["fp32", "dynamic"]', "vectors": '["fp32", "dynamic"]'}
RUNTIMES = ("onnxruntime", "openvino")


@dataclass
class Choice:
    """What goes into the config, and why.

    Attributes:
        data: what is trained and tested on.
        model: the network, by name or reference.
        weights: its checkpoint; empty for none.
        new_head: whether the checkpoint's classifier is replaced.
        trainer: a trainer class, by reference; empty for none.
        found: what lies in the folder, as lines.
        assumed: what was taken for granted, as sentences.
    """

    data: Data
    model: str = ""
    weights: str = ""
    new_head: bool = False
    trainer: str = ""
    found: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)


def write_starter(folder: Path, output: Path) -> str:
    """Write a config for what lies in a folder, and return what to tell of it.

    Args:
        folder: where to look: the one in which the command is run, for modules are imported from it.
        output: the file to write.

    Raises:
        SparsebenchError: where the file is there already, or cannot be written.
    """
    if output.exists():
        raise SparsebenchError(
            f"{output} is there already, and nothing is overwritten. Give another file with --output, or move it away."
        )
    chosen = choose(folder)
    text = starter_toml(chosen, slug(folder.resolve().name))
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SparsebenchError(f"{output} cannot be written: {error.strerror}.") from error
    nothing = ["nothing that it knows: no images in a folder for each class, no .npz, no network, no checkpoint"]
    parts = [
        "\n".join([heading, *(f"  {line}" for line in lines)])
        for heading, lines in (
            ("Found:", chosen.found or nothing),
            ("Taken for granted:", chosen.assumed),
            (f"Wrote {output}. Next:", [f"sparsebench run {output} --dry-run"]),
        )
        if lines
    ]
    return "\n\n".join(parts)


def choose(folder: Path) -> Choice:
    """Return what a config for a folder has in it."""
    code, checkpoints, networks = read_code(folder), find_checkpoints(folder), find_networks(folder)
    datasets = [*find_tables(folder), *find_data(folder)]
    chosen = Choice(data=datasets[0] if datasets else Data(name=code.data[0], what="") if code.data else DIGITS)
    found, assumed = chosen.found, chosen.assumed
    found += [f"{data.name.partition(':')[2]}: {data.what}" for data in datasets]
    for references, what in (
        (code.networks, "makes a network"),
        (code.data, "loads data"),
        (code.trainers, "is a trainer"),
    ):
        found += [f"{reference}: {what}" for reference in references]
    found += [f"{ref}: makes a network, and asks for {', '.join(names)}" for ref, names in code.asking.items()]
    found += [f"{path.as_posix()}: a checkpoint, by its name" for path in checkpoints]
    found += [f"{one.name}: a network of transformers{', with weights' * one.weights}" for one in networks]
    for names, what in (
        ([data.name for data in datasets] or code.data, "data"),
        (code.networks, "network"),
        (code.trainers, "trainer"),
        ([path.as_posix() for path in checkpoints], "checkpoint"),
    ):
        if len(names) > 1:
            assumed.append(
                f"The {what} is {names[0]}, the first of {len(names)}; the others are {first_of(names[1:], 3)}."
            )
    chosen.model, chosen.trainer = next(iter(code.networks), ""), next(iter(code.trainers), "")
    if networks and not chosen.model and (datasets or code.data):
        _take_folder(chosen, networks[0])
    elif checkpoints:
        _take_checkpoint(chosen, checkpoints[0], has_data=bool(datasets or code.data))
    _fill_in(chosen, folder, asking=bool(code.asking))
    assumed += chosen.data.assumed
    return chosen


def _take_folder(chosen: Choice, network: Folder) -> None:
    """Name a network of transformers, and its processor for data that it is there for."""
    chosen.model, data = network.name, chosen.data
    if data.name.startswith(("arrow:", "webdataset:")):
        own = {key: value for key, value in data.options.items() if key != "size"}
        chosen.data = replace(data, options={**own, "processor": "network"}, assumed=())
        chosen.assumed.append("Inputs are made by the network's own processor (processor = 'network').")
    if network.weights:
        chosen.weights, chosen.new_head = "pretrained", network.classes != data.classes
        head = " but for its classifier, which is trained anew (new_head)" if chosen.new_head else ""
        chosen.assumed.append(f"{network.name} holds weights, which take the place of dense training{head}.")


def _take_checkpoint(chosen: Choice, path: Path, has_data: bool) -> None:
    """Name a checkpoint, and the network and data that it is for where nothing else does."""
    name, assumed = path.as_posix(), chosen.assumed
    if chosen.model:
        chosen.weights = name
        assumed.append(f"{name} holds weights of {chosen.model}; it takes the place of dense training.")
        return
    made_for = classes_and_channels(path)
    if not has_data and made_for and made_for[1] == 3:
        chosen.data = CIFAR10
    data = chosen.data
    classes = data.classes or (made_for[0] if made_for else None)
    known = recognise(path, data.shape, classes) if data.shape and classes else None
    if known is None:
        chosen.data = chosen.data if has_data else DIGITS
        assumed.append(
            f"{name} is left out: no network by name has its weights. Write the function that makes its network into a "
            "Python file here, and run init again."
        )
        return
    chosen.model, chosen.weights, chosen.new_head = known.model, name, known.new_head
    head = " but for its classifier, which is trained anew (new_head)" if known.new_head else ""
    assumed.append(f"{name} holds weights of {known.model}, which has the same shapes{head}.")


def _fill_in(chosen: Choice, folder: Path, asking: bool) -> None:
    """Say which data and network are taken where the folder has none."""
    data, assumed = chosen.data, chosen.assumed
    if data is DIGITS:
        loose = classes_without_a_folder(folder)
        way = (
            f"{first_of(loose, 3)} hold images: move them into one folder, such as photos, and run init again"
            if len(loose) > 1
            else "put yours here, or name them in [data]"
        )
        assumed.append(f"The data are scikit-learn's digits, which are there at once; {way}.")
    elif data is CIFAR10:
        assumed.append("The data are CIFAR-10, which is downloaded; name yours in [data].")
    if not chosen.model:
        chosen.model = NETWORKS[data.samples or "images"]
        own = "give those that ask for arguments theirs as options in [model]" if asking else "name yours in [model]"
        assumed.append(f"The network is {chosen.model}, a small one to begin with; {own}.")


def starter_toml(chosen: Choice, name: str) -> str:
    """Return the text of a config."""
    data, trained = chosen.data, bool(chosen.weights)
    batch = BATCH
    while data.training is not None and batch > 1 and batch * BATCHES_AN_EPOCH > data.training:
        batch //= 2
    here = [runtime for runtime in RUNTIMES if find_spec(runtime)]
    others = f"  # also here: {', '.join(map(_toml, here))}" if here else ""
    schemes = SCHEMES.get(data.samples or "", '["fp32", "dynamic", "static"]')
    lines = [
        "# Written by 'sparsebench init' for what lies in this folder; change whatever you like.",
        f"name = {_toml(name)}  # of the run directory, runs/{name}, and of the report, reports/{name}",
        "",
        "# Every combination of these is one trial.",
        "thresholds = [0, 0.5, 0.8, 0.9]  # fractions of the weights that become zero; 0 is the dense network",
        f"schemes = {schemes}  # numeric formats: 'sparsebench list schemes'",
        "seeds = [0, 1, 2]  # each is a training of its own; three give error bars",
        f'backends = ["eager"]{others}',
        "",
        "[model]",
        f"name = {_toml(chosen.model)}",
    ]
    if trained:
        lines.append(f"weights = {_toml(chosen.weights)}  # in place of dense training; no code in it is run")
    if chosen.new_head:
        lines.append("new_head = true  # the checkpoint is for other classes")
    lines += ["", "[data]", f"name = {_toml(data.name)}"]
    if data.options:
        pairs = ", ".join(f"{key} = {_toml(value)}" for key, value in data.options.items())
        lines.append(f"options = {{ {pairs} }}")
    lines += ["", "[train]"]
    if chosen.trainer:
        lines.append(f"trainer = {_toml(chosen.trainer)}")
    lines += [
        f"epochs = {5 if trained else 10}  # of each training",
        f"batch_size = {batch}",
        f"learning_rate = {'1e-4' if trained else '1e-3'}",
        "",
        "[measure]",
        "batch_sizes = [1]  # samples in one call; [] to time nothing",
        "seconds_cap = 45  # of the timing at each batch size, most of it",
        "",
    ]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """Return a value as TOML has it; its strings, numbers and truth are those of JSON."""
    return json.dumps(value, ensure_ascii=False)
