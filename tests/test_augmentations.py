import pytest
import torch

from pad.augmentations import center_crop, random_crop, weakly_augmented


def test_random_crop_reaches_every_offset():
    columns = torch.arange(100, dtype=torch.uint8).expand(4096, 1, 100, 100)  # value = column
    assert set(random_crop(columns, 84)[:, 0, 0, 0].tolist()) == set(range(17))
    rows = columns.transpose(2, 3)
    assert set(random_crop(rows, 84)[:, 0, 0, 0].tolist()) == set(range(17))


def test_random_crop_is_a_window_of_its_own_image():
    image = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    for number, crop in enumerate(random_crop(image, 5)):
        top, left = divmod(int(crop[0, 0, 0]) - int(image[number, 0, 0, 0]), 8)
        assert crop.equal(image[number, :, top : top + 5, left : left + 5])


def test_crops_drawn_with_equal_generators_are_equal():
    images = torch.randint(256, (6, 3, 12, 12), dtype=torch.uint8)
    first, second = (random_crop(images, 7, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.equal(second)


def test_center_crop_takes_the_middle():
    image = torch.zeros(1, 1, 10, 10, dtype=torch.uint8)
    image[..., 3:7, 3:7] = 9
    assert (center_crop(image, 4) == 9).all()


@pytest.mark.parametrize("crop", [random_crop, center_crop])
def test_a_crop_larger_than_the_image_is_refused(crop):
    with pytest.raises(ValueError, match="crop_size 11 exceeds the image of 10x10"):
        crop(torch.zeros(1, 3, 10, 10, dtype=torch.uint8), 11)


def test_a_random_shift_shows_the_middle_moved_by_up_to_four_pixels():
    torch.manual_seed(0)
    images = torch.randint(256, (64, 3, 30, 30), dtype=torch.uint8)
    shifted, middle = weakly_augmented(images, 20, "random_shift"), center_crop(images, 20)
    found = set()
    for view, still in zip(shifted, middle, strict=True):
        places = [
            (dy, dx)
            for dy in range(-4, 5)
            for dx in range(-4, 5)
            if view[:, 4 - min(dy, 0) : 16 - max(dy, 0), 4 - min(dx, 0) : 16 - max(dx, 0)].equal(
                still[:, 4 + max(dy, 0) : 16 + min(dy, 0), 4 + max(dx, 0) : 16 + min(dx, 0)]
            )
        ]
        assert places
        found.add(places[0])
    assert len(found) > 20


def test_weak_augmentation_by_crops_is_a_random_crop():
    images = torch.randint(256, (4, 3, 12, 12), dtype=torch.uint8)
    torch.manual_seed(3)
    expected = random_crop(images, 8)
    torch.manual_seed(3)
    assert weakly_augmented(images, 8, "random_crop").equal(expected)
