"""Convolutions that turn images into features, and the projection that each head adds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pad.settings import check_fields
from pad.types import Features, Filtered, Projected, Vectors


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the convolutions. The defaults are the paper's."""

    crop_size: int = 84
    """Height and width of what the convolutions see, in pixels."""
    filters: int = 32
    """Channels of every convolution."""
    strides: tuple[int, ...] = (2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    """Stride of each 3x3 convolution, first to last; their number is the depth."""
    shared_layers: int = 8
    """Convolutions, from the first, that the self-supervised branch shares with actor and critic."""
    projection: int = 100
    """Features that the projection of each head gives for an image."""
    initialization: Literal["delta", "orthogonal"] = "delta"
    """How convolutions begin: delta-orthogonal as in the paper, or orthogonal, for networks with large strides."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.shared_layers <= len(self.strides):
            raise ValueError(f"shared_layers must be from 1 to {len(self.strides)}, got {self.shared_layers}")
        if min(self.filters, self.projection, *self.strides) < 1:
            raise ValueError(f"filters, strides and projection must be at least 1, got {self}")
        if output_size(self.crop_size, self.strides) < 1:
            raise ValueError(f"crop_size {self.crop_size} is too small for strides {self.strides}")


def output_size(size: int, strides: Sequence[int]) -> int:
    """Height of the feature map that 3x3 convolutions without padding make of an image `size` pixels high."""
    for stride in strides:
        size = (size - 3) // stride + 1
    return size


def stride_of(layers: Iterable[nn.Module]) -> int:
    """Product of the strides of the convolutions among some layers."""
    return math.prod(layer.stride[0] for layer in layers if isinstance(layer, nn.Conv2d))


class Encoder(nn.Module):
    """The convolutions that every head shares, behind a colour transform that starts as the identity.

    The colour transform is a matrix and an offset over the colours of each frame, the same for all
    frames. It is folded into the first convolution (their composition is again a convolution,
    since nothing is padded), so it costs nothing to run and little to learn. Training leaves it
    alone; adaptation may move it.

    Args:
        channels: of an image, its stacked frames' colours together.
        frame_channels: colours of one frame.

    Raises:
        ValueError: when the channels are not whole frames.
    """

    def __init__(self, channels: int, frame_channels: int, filters: int, strides: Sequence[int]) -> None:
        super().__init__()
        if channels % frame_channels:
            raise ValueError(f"{channels} channels are not whole frames of {frame_channels}")
        self.color_matrix = nn.Parameter(torch.eye(frame_channels))
        self.color_offset = nn.Parameter(torch.zeros(frame_channels))
        self.convolutions = convolutions(channels, filters, strides)

    def forward(self, images: Filtered) -> Features:
        """Feature maps (batch, filters, rows, columns) after the last ReLU, of images (batch, channels, height, width).

        Pixels are from 0 to 255.
        """
        first, *rest = self.convolutions
        assert isinstance(first, nn.Conv2d)
        with torch.autocast(images.device.type, enabled=False):  # what is learned is not rounded
            weight, bias = self._fold_color(first)
        # Channels last: twice as fast on a CPU. The division by 255 is folded in too.
        pixels = images.contiguous(memory_format=torch.channels_last).float()
        x = F.conv2d(pixels, weight / 255, bias, stride=first.stride[0]).relu_()
        for convolution in rest:
            x = convolution(x).relu_()
        return x

    def _fold_color(self, first: nn.Conv2d) -> tuple[Tensor, Tensor]:
        assert first.bias is not None
        # In the order in which the weights lie in memory, colours last: (filters, rows, columns, frames, colours).
        colors = first.weight.permute(0, 2, 3, 1).unflatten(-1, (-1, len(self.color_offset)))
        weight = (colors @ self.color_matrix).flatten(-2).permute(0, 3, 1, 2)
        return weight, first.bias + colors.sum((1, 2, 3)) @ self.color_offset


class Branch(nn.Sequential):
    """Convolutions after the shared ones, with ReLUs, then a flattening: (batch, features) of feature maps.

    Without strides it only flattens.
    """

    def __init__(self, filters: int, strides: Sequence[int]) -> None:
        layers = [layer for conv in convolutions(filters, filters, strides) for layer in (conv, nn.ReLU(inplace=True))]
        super().__init__(*layers, nn.Flatten())


class Projection(nn.Sequential):
    """A head's projection of flat features, (batch, inputs) to (batch, outputs): linear, layer norm, tanh."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.Tanh())

    def forward(self, features: Vectors) -> Projected:
        return super().forward(features)


def convolutions(channels: int, filters: int, strides: Sequence[int]) -> nn.ModuleList:
    """One 3x3 convolution without padding for each stride, from `channels` to `filters` channels and on."""
    inputs = [channels, *[filters] * len(strides)]
    return nn.ModuleList(nn.Conv2d(count, filters, 3, stride) for count, stride in zip(inputs, strides, strict=False))
