"""Windows of images, drawn at random. Images stay uint8; every one of a batch is treated independently."""

from typing import Literal

import torch
from torch import Tensor

from pad.types import Crops, Filtered, FilteredCrops, Images
from pad.windows import Windows


def random_crop(images: Images, size: int, generator: torch.Generator | None = None) -> Crops:
    """A (size, size) window of each image, at any offset with equal chance.

    The authors' code never draws the last offset; this one does.
    """
    height, width = images.shape[-2:]
    count = len(images)
    if size > min(height, width):
        raise ValueError(f"crop_size {size} exceeds the image of {height}x{width}")
    top = torch.randint(height - size + 1, (count,), generator=generator)
    left = torch.randint(width - size + 1, (count,), generator=generator)
    return Windows(torch.arange(count), top, left, size).cut(images)


def center_crop(images: Filtered, size: int) -> FilteredCrops:
    """The (size, size) window in the middle of each image."""
    height, width = images.shape[-2:]
    if size > min(height, width):
        raise ValueError(f"crop_size {size} exceeds the image of {height}x{width}")
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]


def random_shift(images: Tensor, padding: int, generator: torch.Generator | None = None) -> Tensor:
    """Each image moved by up to `padding` pixels either way, its edge repeated (Kostrikov et al., 2021).

    The same as padding by repetition and a random crop of the image's own size. Keeps the shape and any dtype.
    """
    count, _, height, width = images.shape
    dy, dx = torch.randint(-padding, padding + 1, (2, count, 1), generator=generator).to(images.device)
    rows = (torch.arange(height, device=images.device) + dy).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + dx).clamp(0, width - 1)
    number = torch.arange(count, device=images.device)
    return images[number[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


WeakAugmentation = Literal["random_crop", "random_shift"]
"""How much an observation moves before something learns from it. random_crop: to any window (Laskin et al., 2020).
random_shift: the center crop, by up to four pixels, its edge repeated (DrQ, Kostrikov et al., 2021)."""
SHIFT = 4


def weakly_augmented(images: Images, size: int, kind: WeakAugmentation) -> Crops:
    """A (size, size) window of each image, in a random place."""
    return random_crop(images, size) if kind == "random_crop" else random_shift(center_crop(images, size), SHIFT)
