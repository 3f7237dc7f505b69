"""A data set on the training device, cut into batches there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from src.data import Dataset
from src.kernels import compiled, gpu

PROBE_IMAGES = 256
"""The fixed probe batch: the first 256 training images."""


class Images:
    """Training, validation and test images; shared by all runs of a stack."""

    def __init__(self, data: Dataset, device: torch.device) -> None:
        self.device, self.scale = device, data.scale
        self.train_labels = data.train_labels.to(device)
        self.train = data.train_images.to(device).contiguous()  # as the compiled pass reads it
        self.val, self.val_labels = self._scaled(data.val_images), data.val_labels.to(device)
        self.test, self.test_labels = self._scaled(data.test_images), data.test_labels.to(device)
        self.probe = self._scaled(data.train_images[:PROBE_IMAGES])
        self._train_array = self.train.numpy() if device.type == "cpu" else None
        self._buffers: dict[int, tuple[Tensor, np.ndarray, Tensor]] = {}

    def _scaled(self, images: Tensor) -> Tensor:
        return images.to(self.device).to(torch.float32, copy=True).div_(self.scale)

    def first_train(self, count: int | None) -> tuple[Tensor, Tensor]:
        """The first training images in [0, 1], (count, features), and their labels; None: all of them.

        All of them take four times the memory that they have as bytes.
        """
        return self._scaled(self.train[:count]), self.train_labels[:count]

    def batch(self, index: Tensor) -> Tensor:
        """Training images in [0, 1] at `index`, (n,) or (R, n); valid until the next call."""
        if self._train_array is None or index.dim() > 1:
            if fused := gpu.fused(self.device):
                batch: Tensor = fused.batch(self.train, index.contiguous(), self.scale)
                return batch
            return self.train[index] / self.scale
        # gathering bytes and scaling them in a reused buffer moves a quarter of the memory that floats would
        n = len(index)
        if n not in self._buffers:
            with torch.inference_mode(False):  # another run's training may not be in that mode
                raw = torch.empty(n, self.train.shape[1], dtype=self.train.dtype)
                self._buffers[n] = raw, raw.numpy(), torch.empty(n, self.train.shape[1])
        raw, memory, floats = self._buffers[n]
        if raw.dtype == torch.uint8 and (passes := compiled.passes()):
            passes.batch(floats, self.train, index, self.scale)
            return floats
        self._train_array.take(index.numpy(), axis=0, out=memory, mode="clip")
        return floats.copy_(raw).div_(self.scale)
