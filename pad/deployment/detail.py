"""What a colour transform cannot do: change a pixel by its neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DetailFilter(nn.Module):
    """Adds to each pixel a 3x3 convolution of its surroundings, the same for all frames; nothing at first.

    It can smooth noise, sharpen what is blurred, and mix colours meanwhile. A picture goes on beyond its edge as it
    is there, so that its size stays.
    """

    def __init__(self, colors: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(colors, colors, 3, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (batch, frames of colours, height, width) of any type, as float32."""
        pixels, colors = pictures.float(), len(self.weight)
        frames = F.pad(pixels.unflatten(1, (-1, colors)).flatten(0, 1), (1, 1, 1, 1), mode="replicate")
        with torch.autocast(pixels.device.type, enabled=False):  # what is learned is not rounded
            # A ninth: a step of all nine weights then changes an even surface by as much as one of a colour matrix.
            return pixels + F.conv2d(frames, self.weight / 9).view_as(pixels)
