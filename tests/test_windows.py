import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pad.encoder import Encoder, output_size
from pad.windows import SharedEncoding, Windows


def encode_windows(encode, stride, images, windows):
    shared = SharedEncoding.of(images, windows, stride)
    return shared.cut(encode(shared.images))


def stack(strides, kernels, channels=3, filters=5):
    torch.manual_seed(0)
    inputs = [channels] + [filters] * len(strides)
    layers = [
        layer
        for count, stride, kernel in zip(inputs, strides, kernels, strict=False)
        for layer in (nn.Conv2d(count, filters, kernel, stride), nn.ReLU())
    ]
    return nn.Sequential(*layers).double()


def draw_windows(count, images, size, reach, seed):
    generator = torch.Generator().manual_seed(seed)
    image, top, left = (torch.randint(high, (count,), generator=generator) for high in (images, reach, reach))
    return Windows(image, top, left, size)


def counted(encode):
    """The function, and how many pixels it was given."""
    pixels = []

    def count(images):
        pixels.append(images.shape[0] * images.shape[2] * images.shape[3])
        return encode(images)

    return count, pixels


@settings(max_examples=60, deadline=None)
@given(
    strides=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    kernel=st.integers(1, 4),
    images=st.integers(1, 3),
    count=st.integers(1, 40),
    reach=st.integers(1, 12),
    extra=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_features_of_windows_are_windows_of_features(strides, kernel, images, count, reach, extra, seed):
    encode = stack(strides, [kernel] * len(strides))
    smallest = kernel
    for stride in reversed(strides[:-1]):
        smallest = (smallest - 1) * stride + kernel
    size, stride = smallest + extra, torch.tensor(strides).prod().item()
    torch.manual_seed(seed)
    pictures = torch.randn(images, 3, size + reach - 1, size + reach - 1, dtype=torch.float64)
    windows = draw_windows(count, images, size, reach, seed)
    places = zip(windows.image, windows.top, windows.left, strict=True)
    expected = encode(torch.stack([pictures[i, :, y : y + size, x : x + size] for i, y, x in places]))
    torch.testing.assert_close(encode_windows(encode, stride, pictures, windows), expected)


@settings(max_examples=60, deadline=None)
@given(
    strides=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    images=st.integers(1, 3),
    count=st.integers(1, 60),
    reach=st.integers(1, 12),
    on_grid=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_in_fixed_shapes_features_of_windows_are_the_same(strides, images, count, reach, on_grid, seed):
    encode, size, stride = stack(strides, [3] * len(strides)), 30, torch.tensor(strides).prod().item()
    pictures = torch.randn(images, 3, size + reach - 1, size + reach, dtype=torch.float64)
    windows, step = draw_windows(count, images, size, reach, seed), stride if on_grid else 1
    windows = Windows(windows.image, windows.top // step * step, windows.left // step * step, size)
    shared = SharedEncoding.fixed(pictures, windows, stride, step)
    torch.testing.assert_close(shared.cut(encode(shared.images)), encode(windows.cut(pictures)))
    elsewhere = draw_windows(count, images, size, 1, seed + 1)
    assert SharedEncoding.fixed(pictures, elsewhere, stride, step).images.shape == shared.images.shape


def test_gradients_are_those_of_the_crops():
    encode = stack((2, 1, 1), (3, 3, 3))
    pictures, windows = torch.randn(2, 3, 20, 20, dtype=torch.float64), draw_windows(32, 2, 14, 7, 0)
    weights = torch.randn(32, 5, 2, 2, dtype=torch.float64)
    (encode(windows.cut(pictures)) * weights).sum().backward()
    expected = [parameter.grad.clone() for parameter in encode.parameters()]
    encode.zero_grad()
    (encode_windows(encode, 2, pictures, windows) * weights).sum().backward()
    for parameter, gradient in zip(encode.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_papers_encoder_gives_the_same_features_in_single_precision():
    torch.manual_seed(0)
    encoder = Encoder(9, 3, 32, (2, *[1] * 10))
    images = torch.randint(256, (2, 9, 100, 100), dtype=torch.uint8)
    drawn = draw_windows(32, 2, 84, 13, 0)
    windows = Windows(torch.arange(32) // 16, drawn.top // 4 * 4 + torch.arange(32) % 2, drawn.left // 2 * 2, 84)
    encode, pixels = counted(encoder)
    with torch.no_grad():
        ours = encode_windows(encode, 2, images, windows)
        torch.testing.assert_close(ours, encoder(windows.cut(images)), rtol=1e-5, atol=1e-6)
    assert ours.shape[2] == output_size(84, (2, *[1] * 10))
    assert len(pixels) == 1
    assert pixels[0] <= 4 * 101 * 101  # two phases of two images instead of 32 crops


def test_shifted_images_lie_in_memory_as_the_images_do():
    images = torch.rand(2, 3, 12, 12).contiguous(memory_format=torch.channels_last)
    windows = Windows(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1, 2]), 8)
    assert SharedEncoding.of(images, windows, 2).images.is_contiguous(memory_format=torch.channels_last)


def test_phases_that_no_window_uses_are_not_encoded():
    encode, pixels = counted(stack((2, 2), (3, 3)))
    images = torch.randn(1, 3, 24, 24, dtype=torch.float64)
    corners = torch.tensor(list(itertools.product((0, 4), (0, 4))))
    windows = Windows(torch.zeros(4, dtype=torch.int64), corners[:, 0], corners[:, 1], 16)
    encode_windows(encode, 4, images, windows)
    assert pixels == [20 * 20]  # one phase, and only as much of the image as the windows show


@pytest.mark.parametrize("count", [1, 3])
def test_windows_that_share_nothing_are_encoded_as_crops(count):
    encode, pixels = counted(stack((2,), (3,)))
    images = torch.randn(count, 3, 30, 30, dtype=torch.float64)
    offsets = torch.arange(count)
    encode_windows(encode, 2, images, Windows(offsets, 5 * offsets, offsets, 16))
    assert pixels == [count * 16 * 16]
