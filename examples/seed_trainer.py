"""A trainer written straight from the contract, without inheriting anything from sparsebench.

It shows that such a class runs unchanged, as it stands, with all its own ways: it drops the last batches of validation
and test, prunes up to one increment short of the threshold, and reads one batch more than 2000 for calibration.
Inherit from ``sparsebench.Trainer`` to have these repaired.

Run a small sweep with it, from this folder:

    sparsebench run --set train.trainer=seed_trainer:SeedTrainer --set thresholds=0,0.8 --set seeds=0
"""

from copy import deepcopy
from os import path
from typing import Any

from torch import cuda as torchcuda
from torch import device, nn, no_grad, save, set_grad_enabled
from torch import float as floatp
from torch.optim import Adam, lr_scheduler
from torch.utils.data import DataLoader

from sparsebench import copy_weights, prune_net


class SeedTrainer:
    def __init__(
        self,
        pruning=False,
        ddtype=floatp,
        datasets=None,
        models_path=None,
        cuda="cuda:0",
    ):
        self.datasets = datasets
        self.dtype = ddtype
        self.devicy = device(cuda if torchcuda.is_available() else "cpu")
        self.datasizes = {i: len(sett) for i, sett in zip(["train", "val", "test"], self.datasets, strict=True)}
        self.pruning = pruning
        self.models_path = models_path
        self.dataloader = None
        self.criterion = nn.CrossEntropyLoss()

    def load_dataloaders(self, batch_size, collate_fn):
        self.dataloader = {
            i: DataLoader(
                sett,
                batch_size=batch_size,
                shuffle=True,
                num_workers=4,
                drop_last=True,
                collate_fn=collate_fn,
            )
            for i, sett in zip(["train", "val", "test"], self.datasets, strict=True)
        }

    def train(
        self,
        net: nn.Module,
        parameters: dict[str, float],
        name: str,
        epochs: int,
        reload: bool,
        old_net: Any,
    ) -> nn.Module:
        # Initialize network
        if reload:
            net = copy_weights(old_net, net)
        net.to(dtype=self.dtype, device=self.devicy)
        # Define optimizer and scheduler
        optimizer = Adam(net.parameters(), lr=parameters.get("learning_rate"))
        exp_lr_scheduler = lr_scheduler.StepLR(
            optimizer,
            step_size=parameters.get("learning_step") * 1000,
            gamma=parameters.get("learning_gamma"),
        )
        # Train network
        return self.train_loop(
            net,
            optimizer,
            exp_lr_scheduler,
            name,
            epochs,
            parameters.get("prune_threshold"),
        )

    def train_loop(self, model, optimizer, scheduler, name, epochs, threshold):
        init_threshold = 0.01
        steps = epochs * len(self.dataloader["train"])
        thres_step = (threshold - init_threshold) / steps
        cnt = 0
        best_accuracy, best_weights = -1.0, None
        for _ in range(epochs):
            for phase in ["train", "val"]:
                model.train(phase == "train")
                correct, total = 0, 0
                for inputs, labels in self.dataloader[phase]:
                    inputs = inputs.to(self.devicy, dtype=self.dtype)
                    labels = labels.to(self.devicy)
                    optimizer.zero_grad()
                    with set_grad_enabled(phase == "train"):
                        outputs = model(inputs)
                        loss = self.criterion(outputs, labels)
                        if phase == "train":
                            loss.backward()
                            optimizer.step()
                            scheduler.step()
                    if phase == "train" and self.pruning:
                        model = prune_net(model, init_threshold + thres_step * cnt)
                        cnt += 1
                    correct += (outputs.argmax(1) == labels).sum().item()
                    total += len(labels)
                if phase == "val" and correct / total > best_accuracy:
                    best_accuracy = correct / total
                    best_weights = deepcopy(model.state_dict())
        model.load_state_dict(best_weights)
        save(model.state_dict(), path.join(self.models_path, str(name) + ".pth"))
        return model

    def evaluate(self, net: nn.Module, quant_mode: bool):
        data_loader = self.dataloader["train"] if quant_mode else self.dataloader["test"]
        net.to("cpu")
        net.eval()
        correct, total, cnt = 0, 0, 0
        with no_grad():
            for inputs, labels in data_loader:
                outputs = net(inputs.to("cpu", dtype=self.dtype))
                correct += (outputs.argmax(1) == labels.to("cpu")).sum().item()
                total += len(labels)
                cnt += 1
                if quant_mode and cnt > 2000:
                    break
        return correct / total, net
