"""Features of many crops of few images, for little more than the price of the images.

Let f be a stack of convolutions without padding, with strides of product S, and let f(x)[i] be row i of
its feature map of x (columns likewise). Row i depends on the pixel rows from S i on, and on none
before, so shifting the image by a multiple of S shifts the map:

    f(x[S q + r:])[i] = f(x[r:])[q + i]        for every offset S q + r with 0 <= r < S.

The features of a crop at offset S q + r are therefore a window, at q, of the features of the whole image
shifted by r. Crops of the same image with the same remainders (r of rows, r of columns) share one
encoding; a stack with S = 2 has four such phases, whatever the number of crops. Values are the same
numbers summed in the same order, so results agree to the rounding of the convolution used.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pad.types import Indices


@dataclass(frozen=True)
class Windows:
    """Square windows of images: number k shows image `image[k]` from row `top[k]` and column `left[k]`."""

    image: Indices
    top: Indices
    left: Indices
    size: int

    def __len__(self) -> int:
        return len(self.image)

    def unique(self) -> "tuple[Windows, Indices]":
        """The distinct windows in order, and for each of these windows the number (window,) of its like among them."""
        (image, top, left), index = _unique(self.image, self.top, self.left)
        return Windows(image, top, left, self.size), index

    def cut(self, images: Tensor) -> Tensor:
        """The pixels of the windows: (window, channels, size, size) of images (batch, channels, height, width)."""
        if images.device.type == "cpu":  # one after the other: whole rows are copied, in a fifth of the time
            places = zip(self.image.tolist(), self.top.tolist(), self.left.tolist(), strict=True)
            return torch.cat([images[i : i + 1, :, y : y + self.size, x : x + self.size] for i, y, x in places])
        windows = images.unfold(2, self.size, 1).unfold(3, self.size, 1)
        image, top, left = (index.to(images.device) for index in (self.image, self.top, self.left))
        return windows[image, :, top, left]


@dataclass(frozen=True)
class SharedEncoding:
    """What to encode for the features of windows: the windows themselves, or fewer pixels that hold them all."""

    images: Tensor
    """(image, channels, height, width), to be encoded by convolutions without padding and pointwise functions."""
    _windows: Windows
    _phases: "_Phases | None"
    _stride: int

    @classmethod
    def of(cls, images: Tensor, windows: Windows, stride: int) -> "SharedEncoding":
        """The cheapest encoding of these windows: only the phases and the pixels that they need.

        Args:
            images: (batch, channels, height, width) of any type that the encoder takes.
            stride: product of the strides of the encoder's convolutions.
        """
        return cls._cheapest(images, windows, _Phases.of(windows, stride), stride)

    @classmethod
    def fixed(cls, images: Tensor, windows: Windows, stride: int, step: int = 1) -> "SharedEncoding":
        """An encoding whose shapes do not depend on where the windows are, so that a CUDA graph of it can be replayed.

        Nothing is read back from the device on which images and places lie.

        Args:
            images: (batch, channels, height, width) of any type that the encoder takes.
            stride: product of the strides of the encoder's convolutions.
            step: windows begin at its multiples; it divides `stride`.
        """
        return cls._cheapest(images, windows, _Phases.every(images, windows, stride, step), stride)

    @classmethod
    def _cheapest(cls, images: Tensor, windows: Windows, phases: "_Phases", stride: int) -> "SharedEncoding":
        if phases.pixels >= len(windows) * windows.size**2:
            return cls(windows.cut(images), windows, None, stride)
        return cls(phases.shifted(images), windows, phases, stride)

    def cut(self, features: Tensor, stride: int | None = None) -> Tensor:
        """The features of each window, (window, filters, rows, columns), cut from those of `images`.

        Args:
            features: feature maps of `images`, (image, filters, rows, columns).
            stride: product of the strides of the layers that made these features. Default: of the whole encoder.
        """
        if self._phases is None:
            return features
        return self._phases.cut(features, self._windows, stride or self._stride)


@dataclass(frozen=True)
class _Phases:
    """The shifted images that a set of windows shares, and where each window lies in their feature maps."""

    corners: list[tuple[int, int, int]]
    """For each shifted image the number of the image, and the row and column at which it begins."""
    index: Tensor
    top: Tensor
    left: Tensor
    """For each window (window,) the number of its shifted image, and its row and column there."""
    height: int
    width: int
    """Pixels of each shifted image."""

    @classmethod
    def of(cls, windows: Windows, stride: int) -> "_Phases":
        """Only the phases that the windows need, as small as they may be."""
        # All begin as late as the windows allow, so that what no window shows is not encoded.
        first_row, first_column = (int(offset.min()) // stride * stride for offset in (windows.top, windows.left))
        last_row, last_column = (int(offset.max()) // stride * stride for offset in (windows.top, windows.left))
        (image, row, column), index = _unique(windows.image, windows.top % stride, windows.left % stride)
        row, column = row + first_row, column + first_column
        return cls(
            list(zip(image.tolist(), row.tolist(), column.tolist(), strict=True)),
            index, windows.top - row[index], windows.left - column[index],
            last_row - first_row + windows.size, last_column - first_column + windows.size,
        )  # fmt: skip

    @classmethod
    def every(cls, images: Tensor, windows: Windows, stride: int, step: int) -> "_Phases":
        """Every phase that windows anywhere on the grid of `step` pixels could need."""
        each = stride // step
        phase = (windows.top % stride // step) * each + windows.left % stride // step
        height, width = ((extent - windows.size) // stride * stride + windows.size for extent in images.shape[2:])
        return cls(
            list(itertools.product(range(len(images)), range(0, stride, step), range(0, stride, step))),
            windows.image * each**2 + phase, windows.top // stride * stride, windows.left // stride * stride,
            height, width,
        )  # fmt: skip

    @property
    def pixels(self) -> int:
        return len(self.corners) * self.height * self.width

    def shifted(self, images: Tensor) -> Tensor:
        # A shift may reach beyond the image, where no window looks.
        below = max(0, max(row for _, row, _ in self.corners) + self.height - images.shape[2])
        right = max(0, max(column for _, _, column in self.corners) + self.width - images.shape[3])
        padded = F.pad(images, (0, right, 0, below)) if below or right else images
        # Slices keep the memory format of the images, which an index of them would lose.
        return torch.cat([
            padded[image : image + 1, :, row : row + self.height, column : column + self.width]
            for image, row, column in self.corners
        ])  # fmt: skip

    def cut(self, features: Tensor, windows: Windows, stride: int) -> Tensor:
        """The features of each window, (window, filters, rows, columns), from those of the shifted images."""
        count, filters, rows, columns = features.shape
        lost = self.height - windows.size, self.width - windows.size
        size = rows - lost[0] // stride
        assert size == columns - lost[1] // stride
        steps = torch.arange(size, device=self.index.device)
        row = (self.index * rows + self.top // stride)[:, None] + steps
        position = (row[:, :, None] * columns) + ((self.left // stride)[:, None] + steps)[:, None, :]
        # Positions first, filters last: a copy of whole rows, and none at all with channels last.
        flat = features.permute(0, 2, 3, 1).reshape(count * rows * columns, filters)
        cut = flat.index_select(0, position.flatten().to(flat.device))
        return cut.view(len(windows), size, size, filters).permute(0, 3, 1, 2)


def _unique(image: Tensor, row: Tensor, column: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """The distinct triples in order, each part (triple,), and for each given triple the number of its like among them.

    Triples are sorted as single numbers, several times as fast as rows of a matrix.
    """
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    found, index = ((image * rows + row) * columns + column).unique(return_inverse=True)
    return (found // (rows * columns), found // columns % rows, found % columns), index
