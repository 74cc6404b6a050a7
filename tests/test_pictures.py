"""Pictures from a folder, and of chance."""

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pad.pictures import SPEED, drift, load_pictures, random_pictures


def write(path, color, shape=(6, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, np.broadcast_to(np.array(color, np.uint8), (*shape, len(color))))


def test_pictures_of_any_size_and_depth_are_scaled_to_one(tmp_path):
    write(tmp_path / "b.png", (0, 200, 0))
    write(tmp_path / "a.jpg", (200, 0, 0), (40, 30))
    write(tmp_path / "below" / "c.png", (0, 0, 250, 255))
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = load_pictures(tmp_path, 16, 12)
    assert pictures.shape == (3, 3, 16, 12)
    assert pictures.dtype == torch.uint8
    np.testing.assert_allclose(pictures.float().mean((2, 3)), [[200, 0, 0], [0, 200, 0], [0, 0, 250]], atol=4)


def test_sixteen_bits_are_scaled_and_of_a_moving_picture_the_first_is_taken(tmp_path):
    iio.imwrite(tmp_path / "a.png", np.full((5, 5), 32768, np.uint16))
    iio.imwrite(tmp_path / "b.webp", np.stack([np.full((8, 8, 3), value, np.uint8) for value in (50, 250)]), loop=0)
    assert load_pictures(tmp_path, 4, 4).float().mean((1, 2, 3)).tolist() == pytest.approx([128, 50], abs=3)


def test_pictures_in_black_and_white_are_pictures_and_none_is_too_few(tmp_path):
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "a.png")
    assert load_pictures(tmp_path, 8, 8)[0, 0].float().diagonal().tolist() == [255] * 8
    with pytest.raises(ValueError, match="at least one picture is needed, got most=0"):
        load_pictures(tmp_path, 8, 8, most=0)


def test_of_very_many_pictures_evenly_chosen_ones_are_read(tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.png", (20 * number,) * 3)
    assert load_pictures(tmp_path, 4, 4, most=5)[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160]


def test_a_folder_without_pictures_and_a_broken_picture_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no pictures .* in {tmp_path}"):
        load_pictures(tmp_path, 8, 8)
    (tmp_path / "broken.png").write_text("not at all")
    with pytest.raises(ValueError, match="broken.png is no picture"):
        load_pictures(tmp_path, 8, 8)


def test_random_pictures_are_sums_of_grids_scaled_softly_or_with_hard_edges():
    torch.manual_seed(0)
    found = random_pictures(6, 3, 41, 30)
    torch.manual_seed(0)
    expected = torch.rand(6, 3, 1, 1).expand(6, 3, 41, 30)
    for cells in (3, 6, 12, 24):
        grid = torch.rand(6, 3, cells, cells) - 0.5
        strength, kind = torch.rand(2, 6, 1, 1, 1)
        soft, hard = (F.interpolate(grid, (41, 30), mode=mode) for mode in ("bilinear", "nearest"))
        expected = expected + strength * torch.where(kind < 0.5, soft, hard)
    assert (found - expected.clamp(0, 1)).abs().max() < 1e-6


def test_a_drifting_picture_moves_by_the_same_pixels_at_every_moment():
    torch.manual_seed(0)
    margin = SPEED * 3
    places = torch.arange((20 + margin) * (30 + margin)).view(1, 1, 20 + margin, 30 + margin).expand(40, 1, -1, -1)
    corners = drift(places, 4)[:, :, 0, 0, 0]
    down, right = corners // (30 + margin), corners % (30 + margin)
    for path in (down, right):
        step = path.diff(dim=1)
        assert (step == step[:, :1]).all()
        assert set(step[:, 0].tolist()) == set(range(-SPEED, SPEED + 1))
    assert drift(places, 4).shape == (40, 4, 1, 20, 30)
