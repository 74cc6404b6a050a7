import pytest
import torch
import torch.nn.functional as F

from pad.encoder import Encoder, EncoderConfig, output_size


def test_the_folded_colour_transform_equals_transforming_the_image_first():
    torch.manual_seed(0)
    encoder = Encoder(9, 3, 8, (2, 1))
    torch.nn.init.normal_(encoder.color_matrix)
    torch.nn.init.normal_(encoder.color_offset)
    images = torch.randint(256, (4, 9, 16, 16), dtype=torch.uint8)

    frames = images.float().div(255).unflatten(1, (3, 3))
    recolored = torch.einsum("cd,bfdhw->bfchw", encoder.color_matrix, frames) + encoder.color_offset.view(1, 1, 3, 1, 1)
    first, second = encoder.convolutions
    expected = F.relu(second(F.relu(first(recolored.flatten(1, 2)))))

    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-4)


def test_a_new_encoder_leaves_colours_as_they_are():
    encoder = Encoder(9, 3, 8, (2,))
    images = torch.randint(256, (2, 9, 16, 16), dtype=torch.uint8)
    expected = F.relu(encoder.convolutions[0](images.float() / 255))
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)


def test_images_are_not_changed_by_encoding_them():
    images = torch.randint(256, (2, 9, 16, 16), dtype=torch.uint8)
    before = images.clone()
    Encoder(9, 3, 8, (2, 1))(images)
    assert images.equal(before)


def test_the_papers_encoder_makes_maps_of_21_from_crops_of_84():
    assert output_size(84, EncoderConfig().strides) == 21
    assert len(EncoderConfig().strides) == 11


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shared_layers": 12}, "shared_layers must be from 1 to 11, got 12"),
        ({"shared_layers": 0}, "shared_layers"),
        ({"crop_size": 20}, "crop_size 20 is too small"),
        ({"filters": 0}, "at least 1"),
    ],
)
def test_impossible_shapes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EncoderConfig(**settings)


def test_channels_that_are_no_whole_frames_are_refused():
    with pytest.raises(ValueError, match="8 channels are not whole frames of 3"):
        Encoder(8, 3, 8, (2,))
