"""Objects to be found in images: torchvision's SSDLite on MobileNetV3, its loss, and mean average precision.

The network is what a runtime gets: images go in, scores and boxes relative to anchors come out. What torchvision does
before and after it, anchors and non-maximum suppression, is in ``found_in`` and in the metric.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchmetrics.detection import MeanAveragePrecision as OfBoxes
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from sparsebench.metrics import Measured, Metric
from sparsebench.metrics.resampled import resampled
from sparsebench.statistics.resamples import drawn
from sparsebench.store.scales import Scale

SIDE = 96
CLASSES = 2  # a square and a cross; the network has one more, for what is neither
RESAMPLES = 100


class Detector(nn.Module):
    """Returns scores (N, anchors, classes + 1) and boxes (N, anchors, 4) of images (N, 3, SIDE, SIDE)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        whole = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
        self.backbone, self.head = whole.backbone, whole.head
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # MobileNetV3's takes hundreds of steps, this training 320.

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(images).values()))
        return found["cls_logits"], found["bbox_regression"]


@cache
def around():
    """Return the network of torchvision, for what has no weights in it, and the anchors, (anchors, 4)."""
    given = {"weights": None, "weights_backbone": None, "num_classes": CLASSES + 1, "topk_candidates": 50}
    whole = ssdlite320_mobilenet_v3_large(**given)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        images = torch.zeros(1, 3, SIDE, SIDE)
        features = list(whole.eval().backbone(images).values())
        (anchors,) = whole.anchor_generator(ImageList(images, [(SIDE, SIDE)]), features)
    return whole, anchors


def loss(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Return the loss of the SSD: cross-entropy of the classes, with hard negatives, and smooth L1 of the boxes."""
    whole, anchors = around()
    wanted = [told(one) for one in targets]
    matched = [whole.proposal_matcher(box_iou(one["boxes"], anchors)) for one in wanted]
    outputs = {"cls_logits": outputs[0], "bbox_regression": outputs[1]}
    parts = whole.compute_loss(wanted, outputs, [anchors] * len(wanted), matched)
    return parts["classification"] + parts["bbox_regression"]


def told(rows: Tensor) -> dict[str, Tensor]:
    """Return the objects of an image, of rows (most, 5): class from 1 and box; class 0 where there is none."""
    there = rows[rows[:, 0] > 0]
    return {"labels": there[:, 0].long(), "boxes": there[:, 1:]}


def found_in(outputs: tuple[Tensor, Tensor]) -> list[dict[str, Tensor]]:
    """Return what is found in each image: boxes, labels and scores."""
    whole, anchors = around()
    outputs = {"cls_logits": outputs[0].detach().cpu(), "bbox_regression": outputs[1].detach().cpu()}
    count = len(outputs["cls_logits"])
    return whole.postprocess_detections(outputs, [anchors] * count, [(SIDE, SIDE)] * count)


class MeanAveragePrecision(Metric):
    """COCO's mean average precision over overlaps from 0.5 to 0.95, by pycocotools; images are resampled."""

    scale = Scale(metric="map", title="mean average precision", short="mAP", higher_is_better=True, share=True)
    targets = "any"
    takes_structures = True

    def kept(self, outputs, targets):
        """Return what was found and what is there, of each image of a batch."""
        return list(zip(found_in(outputs), [told(one) for one in targets.cpu()], strict=True))

    def measured(self, kept) -> Measured:
        """Return the metric with its interval."""
        images = [image for batch in kept for image in batch]
        replicates = [precision([images[place] for place in draw]) for draw in drawn(len(images), RESAMPLES)]
        return resampled(precision(images), len(images), len(images), np.array(replicates))

    def value(self, kept) -> float:
        return precision([image for batch in kept for image in batch])


def precision(images) -> float:
    metric = OfBoxes()
    metric.update([found for found, _ in images], [there for _, there in images])
    return max(0.0, float(metric.compute()["map"]))


def objects(train: int = 128, test: int = 32) -> tuple[list[TensorDataset], int]:
    return [TensorDataset(*placed(samples, seed)) for seed, samples in enumerate((train, test, test))], CLASSES


def placed(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images with one square and one cross each, and their classes and boxes, (N, 2, 5)."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.2 * torch.randn(samples, 3, SIDE, SIDE, generator=generator)
    sizes = torch.randint(24, 40, (samples, 2), generator=generator)
    corners = (torch.rand(samples, 2, 2, generator=generator) * (SIDE - 40)).long()
    targets = torch.zeros(samples, 2, 5)
    for image, target, size, corner in zip(images, targets, sizes.tolist(), corners.tolist(), strict=True):
        for kind, (side, (x, y)) in enumerate(zip(size, corner, strict=True)):
            window = image[kind, y : y + side, x : x + side]
            if kind == 0:
                window += 1.5
            else:
                window[side // 3 : side - side // 3] += 1.5
                window[:, side // 3 : side - side // 3] += 1.5
            target[kind] = torch.tensor([kind + 1, x, y, x + side, y + side])
    return images, targets
