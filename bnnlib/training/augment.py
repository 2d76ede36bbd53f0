"""Augmentation of a whole batch at once, on uint8 images."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SHIFT = 2  # pixels


def augmented(images: Tensor, kind: str) -> Tensor:
    """Randomly shifted and flipped copies of uint8 images (N, C, H, W), same shape; draws from torch's generator."""
    if "flip" in kind:
        mirrored = torch.rand(len(images)) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if "shift" in kind:
        count, channels, height, width = images.shape
        padded = F.pad(images, (MAX_SHIFT,) * 4)
        down, right = torch.randint(0, 2 * MAX_SHIFT + 1, (2, count, 1))
        rows = (down + torch.arange(height))[:, None, :, None]
        columns = (right + torch.arange(width))[:, None, None, :]
        images = padded[torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]
    return images
