"""Random views of images. They stay uint8; every image of a batch is treated independently."""

import torch

from pad.types import Crops, Images


def random_crop(images: Images, size: int, generator: torch.Generator | None = None) -> Crops:
    """A (size, size) window of each image, at any offset with equal chance.

    The authors' code never draws the last offset; this one does.
    """
    height, width = images.shape[-2:]
    count = len(images)
    device = images.device
    if size > min(height, width):
        raise ValueError(f"crop_size {size} exceeds the image of {height}x{width}")
    top = torch.randint(height - size + 1, (count,), generator=generator).to(device)
    left = torch.randint(width - size + 1, (count,), generator=generator).to(device)
    windows = images.unfold(2, size, 1).unfold(3, size, 1)
    return windows[torch.arange(count, device=device), :, top, left]


def center_crop(images: Images, size: int) -> Crops:
    """The (size, size) window in the middle of each image."""
    height, width = images.shape[-2:]
    if size > min(height, width):
        raise ValueError(f"crop_size {size} exceeds the image of {height}x{width}")
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]
