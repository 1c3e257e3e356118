"""How much faster Trainer trains than the loop of the trainer contract's document, and what its evaluation costs.

    python benchmarks/perf_training.py --out reports/performance

Each round trains the same network, from the same weights, on the same images for the same epochs, pruning after every
step to the same sparsity, in all ways and in random order. Ratios are of the seconds within rounds. ResNet-20 at
32×32, batch 128; images are random unless a folder of ``train`` and ``test`` with a folder for each class is given.
The document's loaders read and prepare each image anew in each epoch, in worker processes; ours hold the same images in
memory as sparsebench's own datasets do, for which they were decoded once: how long that took is noted.
"""

import copy
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from measuring import Estimate, Row, estimate, interleaved, parser_of, write_rows
from prune_nets import prune_with_torch, resnet20
from torch import nn
from torch.optim import Adam, lr_scheduler
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from sparsebench import Trainer
from sparsebench.data.images import ImageTensors
from sparsebench.pruning import prunable_weights
from sparsebench.store.environment import describe_environment

BATCH = 128
THRESHOLD = 0.8
PARAMETERS = {"learning_rate": 1e-3, "learning_step": 1, "learning_gamma": 0.1, "prune_threshold": THRESHOLD}
BF16_FLAGS = {"avx512f", "avx512_bf16", "amx_bf16", "bf16", "sve"}
NO_BF16 = "not measured: this processor has neither AVX-512 nor bf16 instructions"
NORMALIZE = ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))


class RandomImages(Dataset):
    """Images of 32×32 as bytes in memory, brought into floats one by one as torchvision's CIFAR-10 does."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        self.labels = torch.randint(0, 10, (count,), generator=generator).tolist()
        self.normalize = transforms.Normalize(*NORMALIZE)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.normalize(self.images[place].float() / 255), self.labels[place]


def splits(images: Path | None, train: int, test: int) -> list[Dataset]:
    """Return training, validation and test images."""
    if images is None:
        return [RandomImages(count, seed) for seed, count in enumerate((train, test, test))]
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*NORMALIZE)])
    folders = [ImageFolder(images / name, prepare) for name in ("train", "test")]
    shuffled = [torch.randperm(len(f), generator=torch.Generator().manual_seed(0)).tolist() for f in folders]
    return [
        Subset(folders[0], shuffled[0][:train]),
        Subset(folders[0], shuffled[0][train : train + test]),
        Subset(folders[1], shuffled[1][:test]),
    ]


def in_memory(datasets: list[Dataset]) -> list[Dataset]:
    """Return the same images as sparsebench's own datasets hold them: decoded once, as bytes."""
    return [ImageTensors(*_decoded(dataset), None, *NORMALIZE) for dataset in datasets]


def _decoded(dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (N, 3, 32, 32) in bytes, and their labels (N,)."""
    if isinstance(dataset, RandomImages):
        return dataset.images, torch.tensor(dataset.labels)
    folder = dataset.dataset
    files = [folder.samples[place] for place in dataset.indices]
    as_tensor = transforms.PILToTensor()
    return torch.stack([as_tensor(folder.loader(path)) for path, _ in files]), torch.tensor(
        [label for _, label in files]
    )


def train_as_the_document(net: nn.Module, datasets: list[Dataset], epochs: int, folder: str) -> nn.Module:
    """Train as the document's listings do: its loaders, optimizer, schedule, pruning at every step, and best epoch."""
    loaders = {
        phase: DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=4, drop_last=True)
        for phase, dataset in zip(("train", "val"), datasets, strict=False)
    }
    criterion = nn.CrossEntropyLoss()
    optimizer = Adam(net.parameters(), lr=PARAMETERS["learning_rate"])
    scheduler = lr_scheduler.StepLR(
        optimizer, step_size=PARAMETERS["learning_step"] * 1000, gamma=PARAMETERS["learning_gamma"]
    )
    steps = epochs * len(loaders["train"])
    first = 0.01
    growth, count, best, weights = (THRESHOLD - first) / steps, 0, -1.0, net.state_dict()
    for _ in range(epochs):
        for phase, loader in loaders.items():
            net.train(phase == "train")
            correct = total = 0
            for inputs, labels in loader:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = net(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                        scheduler.step()
                        count += 1
                        prune_with_torch(net, first + growth * count)
                correct += int((outputs.argmax(1) == labels).sum())
                total += len(labels)
            if phase == "val" and correct / total > best:
                best, weights = correct / total, copy.deepcopy(net.state_dict())
    net.load_state_dict(weights)
    torch.save(net.state_dict(), Path(folder) / "document.pth")
    return net


def train_with_trainer(net: nn.Module, datasets: list[Dataset], epochs: int, folder: str, amp: str) -> nn.Module:
    """Train the same by ``Trainer``."""
    trainer = Trainer(pruning=True, datasets=datasets, models_path=folder, cuda="cpu")
    trainer.amp = amp
    trainer.load_dataloaders(BATCH, None)
    return trainer.train(net, PARAMETERS, "trainer", epochs, reload=False, old_net=None)


def measure_training(
    datasets: list[Dataset], held: list[Dataset], epochs: int, rounds: int, seed: int, bf16: bool
) -> tuple[list[Row], dict]:
    torch.manual_seed(seed)
    start = resnet20()
    trained: dict[str, nn.Module] = {}
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "document": partial(train_as_the_document, datasets=datasets, epochs=epochs, folder=folder),
            "fp32": partial(train_with_trainer, datasets=held, epochs=epochs, folder=folder, amp="none"),
        }
        if bf16:
            ways["bf16"] = partial(train_with_trainer, datasets=held, epochs=epochs, folder=folder, amp="bf16")

        def once(name: str) -> None:
            trained[name] = ways[name](copy.deepcopy(start))

        seconds = interleaved({name: partial(once, name) for name in ways}, rounds, seed, warm_up=0)
    images = epochs * (len(datasets[0]) // BATCH) * BATCH
    speeds = {name: estimate(images / values, seed) for name, values in seconds.items()}
    against = f"against the document's loop: ResNet-20, batch {BATCH}, pruned at every step"
    rows = [
        Row(f"Trainer.train, {name}, {against}", estimate(seconds["document"] / seconds[name], seed), "×", target)
        for name, target in (("fp32", 1.5), ("bf16", 2.5))
        if name in ways
    ]
    if not bf16:
        rows.append(Row(f"Trainer.train, bf16, {against}", None, "×", 2.5, why_not=NO_BF16))
    details = {
        "seconds": seconds,
        "images_per_second": {name: asdict(speed) for name, speed in speeds.items()},
        "sparsity": {name: sparsity(net) for name, net in trained.items()},
    }
    return rows, details


def sparsity(net: nn.Module) -> float:
    weights = [weight.parameter for weight in prunable_weights(net)]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def measure_evaluation(held: list[Dataset], rounds: int, seed: int) -> tuple[list[Row], dict]:
    """Compare ``Trainer.evaluate`` with nothing but forward passes over tensors in memory."""
    torch.manual_seed(seed)
    net = resnet20().eval()
    trainer = Trainer(datasets=held, cuda="cpu")
    trainer.load_dataloaders(BATCH, None)
    batches = list(DataLoader(held[2], batch_size=BATCH))

    def bare() -> None:
        with torch.inference_mode():
            for inputs, labels in batches:
                (net(inputs).argmax(1) == labels).sum().item()

    seconds = interleaved({"bare": bare, "evaluate": lambda: trainer.evaluate(net, quant_mode=False)}, rounds, seed)
    figure: Estimate = estimate(seconds["bare"] / seconds["evaluate"], seed)
    what = "Trainer.evaluate against a bare forward loop over tensors in memory: ResNet-20"
    return [Row(f"{what}, {len(held[2]):,} images", figure, "×", 0.95)], {"evaluation_seconds": seconds}


def main() -> None:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--images", type=Path, help="folder with train/<class>/ and test/<class>/; random if none")
    parser.add_argument("--train-images", type=int, default=6400)
    parser.add_argument("--test-images", type=int, default=2560)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="time bf16 also where the processor must emulate it")
    parser.add_argument("--evaluation-rounds", type=int, default=15)
    arguments = parser.parse_args()
    datasets = splits(arguments.images, arguments.train_images, arguments.test_images)
    bf16 = arguments.bf16 or bool(BF16_FLAGS & set(describe_environment().cpu_flags))
    start = time.perf_counter()
    held = in_memory(datasets)
    decoding = time.perf_counter() - start
    rows, details = measure_training(datasets, held, arguments.epochs, arguments.rounds, arguments.seed, bf16)
    more_rows, more = measure_evaluation(held, arguments.evaluation_rounds, arguments.seed)
    command = "python benchmarks/perf_training.py" + (" --images PATH" if arguments.images else "")
    details |= {
        **more,
        "train_images": arguments.train_images,
        "epochs": arguments.epochs,
        "decoding_seconds": decoding,
    }
    write_rows(arguments.out / "training.json", [*rows, *more_rows], command, details)
    for row in (*rows, *more_rows):
        print(row)


if __name__ == "__main__":
    main()
