"""What a self-supervised objective learns from: windows of pictures, encoded together where they overlap."""

from functools import cached_property

import torch
from torch import Tensor, nn

from pad.encoder import Encoder, Projection, stride_of
from pad.precision import Precision, autocast
from pad.types import Actions, Filtered, FilteredCrops, Indices, Projected, Sources, Vectors
from pad.windows import SharedEncoding, Windows


class Networks(nn.Module):
    """The networks of a policy that objectives read, beside heads of their own."""

    encoder: Encoder
    control: nn.Sequential
    """Convolutions between the shared ones and the policy's projection; they end in flat features."""

    @property
    def actor_projection(self) -> Projection:
        """The projection of flat features (batch, features) that the policy acts on."""
        raise NotImplementedError


class Views:
    """Random windows of observations, and as many of the next ones, with the actions between them.

    Everything is computed once, when it is first asked for, however many objectives ask.

    Args:
        images: the observations themselves, (image, channels, height, width).
        windows: windows of the first observations, one for each transition, then as many of the next ones.
        action: of each transition, (batch, action).
        precision: number format of the convolutions.
        same: for each image the number (image,) of the first that shows the same picture; None where all differ.
        generator: for the random numbers that an objective draws.
        grid: windows begin at its multiples, and images and windows lie on the networks' device, where all is computed
            in shapes that do not depend on where the windows are; None for the cheapest shapes each time.
    """

    def __init__(
        self,
        networks: Networks,
        images: Sources,
        windows: Windows,
        action: Actions,
        precision: Precision = "float32",
        same: Tensor | None = None,
        generator: torch.Generator | None = None,
        grid: int | None = None,
    ) -> None:
        self.networks, self.images, self.windows, self.action = networks, images, windows, action
        self._same, self.generator = torch.arange(len(images)) if same is None else same, generator
        self.precision, self.device = precision, networks.encoder.color_matrix.device
        stride = stride_of(networks.encoder.convolutions) * stride_of(networks.control)
        if grid is not None:
            self._index: Tensor | None = None
            self._shared = SharedEncoding.fixed(images, windows, stride, grid)
            return
        # Few places and many draws: what is drawn twice is encoded and projected once.
        once, index = windows.unique()
        self._index = index.to(self.device)
        self._shared = SharedEncoding.of(images, once, stride)

    @property
    def picture(self) -> Indices:
        """The number (window,) of the picture that each window shows a part of."""
        return self._same[self.windows.image]

    def crops(self) -> FilteredCrops:
        """The pixels of the windows, (window, channels, size, size)."""
        return self.windows.cut(self.images)

    def encode(self, images: Filtered) -> Tensor:
        """Shared feature maps (batch, filters, rows, columns) of any images (batch, channels, height, width)."""
        with autocast(self.precision, self.device):
            return self.networks.encoder(images)

    @cached_property
    def _maps(self) -> Tensor:
        return self.encode(self._shared.images)

    def channels(self) -> Vectors:
        """The average of each channel of each window's shared features, (window, filters)."""
        maps = self._shared.cut(self._maps, stride_of(self.networks.encoder.convolutions))
        return self._drawn(maps.float().mean((2, 3)))

    def _drawn(self, computed: Tensor) -> Tensor:
        """Values (window, ...) of all windows, from those computed once for each distinct window."""
        return computed if self._index is None else computed.index_select(0, self._index)

    def projected(self, branch: nn.Sequential, projection: Projection) -> Projected:
        """Projected features (window, projected) of each window, through a head's own convolutions and projection."""
        *convolutions, flatten = branch
        linear, *normalize = projection
        with autocast(self.precision, self.device):
            maps = self._maps
            for layer in convolutions:
                maps = layer(maps)
            projected = linear(flatten(self._shared.cut(maps))).float()
        for layer in normalize:
            projected = layer(projected)
        return self._drawn(projected)

    def latents(self) -> Projected:
        """Projected features (window, projected) of each window as the policy acts on them."""
        return self.projected(self.networks.control, self.networks.actor_projection)

    def pairs(self) -> tuple[Indices, Indices]:
        """The numbers (picture,) of the first and of the second window of each picture that is seen through several."""
        order = torch.argsort(self.picture, stable=True)
        _, counts = self.picture[order].unique_consecutive(return_counts=True)
        first = (counts.cumsum(0) - counts)[counts > 1]
        return order[first], order[first + 1]
