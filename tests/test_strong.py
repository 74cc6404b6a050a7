from functools import partial

import pytest
import torch
import torch.nn.functional as F

from envs import renderer
from pad.pictures import random_films
from pad.strong import Layer, StrongAugmenter


def augmented(name: str, frames: torch.Tensor, pictures: torch.Tensor | None = None) -> torch.Tensor:
    """Clips under one augmentation: uint8 (clips, time, colors, height, width)."""
    colors = frames.shape[2] - (name == "random_background")
    return StrongAugmenter((name,), colors, pictures).clips(frames)


random_convolution = partial(augmented, "random_convolution")
random_overlay = partial(augmented, "random_overlay")
color_jitter = partial(augmented, "color_jitter")
random_background = partial(augmented, "random_background")


@pytest.fixture
def clips():
    torch.manual_seed(0)
    still = torch.randint(256, (6, 1, 3, 20, 20), dtype=torch.uint8)
    return still.expand(6, 4, 3, 20, 20)


@pytest.mark.parametrize("augment", [random_convolution, random_overlay, color_jitter])
def test_strong_augmentations_change_every_clip_in_its_own_way(clips, augment):
    same = clips[:1].expand_as(clips)
    changed = augment(same)
    assert changed.shape == clips.shape
    assert changed.dtype == torch.uint8
    assert all((view.float() - clips[0].float()).abs().mean() > 5 for view in changed)
    assert not changed[0].equal(changed[1])


def test_a_random_convolution_is_the_same_for_all_frames_of_a_clip(clips):
    changed = random_convolution(clips)
    assert all(changed[:, time].equal(changed[:, 0]) for time in range(4))


def test_a_random_convolution_is_that_of_each_frame_by_itself(clips):
    clips = torch.cat([clips, clips.flip(3)], dim=1)
    torch.manual_seed(3)
    weights = torch.randn(len(clips), 3, 3, 3, 3)
    torch.manual_seed(3)
    changed = random_convolution(clips)
    for clip, weight, found in zip(clips, weights, changed, strict=True):
        for frame, shown in zip(clip, found, strict=True):
            padded = F.pad(frame[None].float() / 255 - 0.5, (1, 1, 1, 1), mode="replicate")
            expected = 255 * F.conv2d(padded, weight).sigmoid()[0]
            assert (shown - expected).abs().max() < 0.51  # rounded


def test_a_random_convolution_keeps_flat_areas_flat():
    changed = random_convolution(torch.full((3, 2, 3, 9, 9), 40, dtype=torch.uint8))
    assert (changed == changed[..., :1, :1]).all()


def test_a_random_overlay_drifts_like_one_picture():
    torch.manual_seed(1)
    black = torch.zeros(16, 4, 3, 20, 20, dtype=torch.uint8)
    changed = random_overlay(black)
    first, later = changed[:, 0], changed[:, 3]
    for clip in range(16):  # the last frame is the first one, moved by up to two pixels a frame
        moved = [
            (dy, dx)
            for dy in range(-6, 7)
            for dx in range(-6, 7)
            if first[clip, :, 6 + dy : 14 + dy, 6 + dx : 14 + dx].equal(later[clip, :, 6:14, 6:14])
        ]
        assert moved
        assert all(step % 3 == 0 for step in moved[0])


def test_a_share_of_the_transitions_is_augmented_and_both_observations_alike():
    torch.manual_seed(0)
    obs = torch.randint(256, (8, 1, 3, 16, 16), dtype=torch.uint8).expand(8, 3, 3, 16, 16).flatten(1, 2)
    before, after = StrongAugmenter(("random_convolution", "random_overlay"), 3).transitions(obs, obs, 0.5)
    assert before[4:].equal(obs[4:])
    assert after[4:].equal(obs[4:])
    assert all(not before[index].equal(obs[index]) for index in range(4))
    assert before[:2].equal(after[:2])  # nothing moves in these clips, and convolutions are of the place
    assert before[2:4, 3:].equal(after[2:4, :-3])  # an overlay moves from frame to frame


def test_each_augmentation_has_its_part_however_few_clips_there_are(monkeypatch):
    from pad import strong

    names = ("random_convolution", "color_jitter", "random_overlay")
    drawn: dict[str, int] = {}

    def draw(name, frames, *_):
        drawn[name] = len(frames)
        return lambda clips, _: clips

    monkeypatch.setattr(strong, "draw_augmentation", draw)
    shares = {}
    for count in (2, 4, 7, 32, 42):
        drawn.clear()
        StrongAugmenter(names, 3).clips(torch.zeros(count, 1, 3, 4, 4, dtype=torch.uint8))
        shares[count] = list(drawn.values())
    assert shares == {2: [1, 1], 4: [2, 1, 1], 7: [3, 2, 2], 32: [11, 11, 10], 42: [14, 14, 14]}


def test_without_names_or_share_nothing_is_augmented():
    obs = torch.randint(256, (4, 9, 16, 16), dtype=torch.uint8)
    for names, share in (((), 0.5), (("random_convolution",), 0.0)):
        before, after = StrongAugmenter(names, 3).transitions(obs, obs, share)
        assert before.equal(obs)
        assert after.equal(obs)


def test_color_jitter_is_the_same_for_all_frames_and_keeps_grey_grey(clips):
    changed = color_jitter(clips)
    assert all(changed[:, time].equal(changed[:, 0]) for time in range(4))
    grey = color_jitter(torch.randint(40, 200, (4, 2, 1, 9, 9), dtype=torch.uint8).expand(4, 2, 3, 9, 9)).int()
    assert (grey.amax(2) - grey.amin(2)).max() <= 1
    with pytest.raises(ValueError, match="three colours, got 1"):
        color_jitter(torch.zeros(1, 2, 1, 9, 9, dtype=torch.uint8))


def test_an_overlay_shows_the_pictures_it_is_given():
    black = torch.zeros(8, 2, 3, 20, 20, dtype=torch.uint8)
    red = torch.tensor([200, 0, 0], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 5, 7)
    changed = random_overlay(black, red)
    assert (changed[:, :, 1:] == 0).all()
    assert (changed[:, :, 0] >= 0.2 * 200 - 1).all()
    assert (changed[:, :, 0] <= 0.7 * 200 + 1).all()


def test_each_kind_augments_an_equal_part_of_a_batch():
    torch.manual_seed(0)
    obs = torch.randint(256, (6, 9, 16, 16), dtype=torch.uint8)
    changed = StrongAugmenter(("random_convolution", "random_overlay", "color_jitter"), 3).observations(obs)
    assert changed.shape == obs.shape
    assert all(not view.equal(image) for view, image in zip(changed, obs, strict=True))
    torch.manual_seed(5)
    expected = random_convolution(obs[:2].unflatten(1, (3, 3))).flatten(1, 2)
    torch.manual_seed(5)
    assert (
        StrongAugmenter(("random_convolution", "color_jitter", "random_overlay"), 3)
        .observations(obs)[:2]
        .equal(expected)
    )


def layered(clips: torch.Tensor) -> torch.Tensor:
    """The upper half of each frame is sky, the lower one ground, with a thing in the middle of both."""
    layers = torch.full((*clips.shape[:2], 1, *clips.shape[3:]), Layer.GROUND, dtype=torch.uint8)
    layers[..., :10, :] = Layer.SKY
    layers[..., 5:15, 5:15] = Layer.THING
    return torch.cat([clips, layers], dim=2)


def test_a_random_background_is_behind_things_and_above_the_ground_or_below_it_too():
    torch.manual_seed(0)
    grey = torch.full((64, 4, 3, 20, 20), 128, dtype=torch.uint8)
    changed = random_background(layered(grey))
    assert changed.shape == grey.shape
    assert changed.dtype == torch.uint8
    thing, sky, ground = changed[..., 6:14, 6:14], changed[..., :5, :], changed[..., 16:, :]
    color = thing[..., :1, :1]
    assert (thing == color).all()  # whatever it is
    assert all((part != of).any() for part, of in zip(sky, color, strict=True))
    hidden, recolored = (ground != color).flatten(1).any(1), (thing != 128).flatten(1).any(1)
    for share in (hidden, recolored, hidden & recolored, ~hidden & ~recolored):
        assert share.any()


def test_a_random_background_may_eat_the_edge_of_a_thing_on_one_side():
    torch.manual_seed(0)
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 5, 7)
    changed = random_background(layered(torch.full((64, 1, 3, 20, 20), 128, dtype=torch.uint8)), blue)[:, 0]
    is_thing = (changed[..., 5:15, 5:15] != blue[0, :, :1, :1]).any(1)
    upper = is_thing[:, :5]  # which is before the sky in any case
    assert upper[:, 1:, 1:-1].all()
    sides = torch.stack([~upper[:, 0, 1:-1].any(1), ~upper[:, 1:, 0].any(1), ~upper[:, 1:, -1].any(1)])
    assert sides.any(1).all()
    assert (sides.sum(0) <= 1).all()
    assert (~sides.any(0)).any()


def test_films_move_and_show_anything_or_shades_of_a_palette():
    torch.manual_seed(0)
    palette = torch.tensor([0.8, 0.1, 0.1]).expand(32, 4, 3)
    films, reddish = random_films(32, 4, 3, 20, 24), random_films(32, 4, 3, 20, 24, palette, shapes=20)
    for film in (films, reddish):
        assert film.shape == (32, 4, 3, 20, 24)
        assert film.min() >= 0
        assert film.max() <= 1
        assert sum(bool((one[0] != one[3]).any()) for one in film) > 16

    def redness(film: torch.Tensor) -> torch.Tensor:
        return (film[:, :, 0] - film[:, :, 1:].mean(2)).flatten(1).mean(1)

    assert (redness(reddish) > 0.3).sum() > (redness(films) > 0.3).sum() + 4


def test_a_random_background_drifts_and_its_pictures_may_be_given():
    torch.manual_seed(0)
    black = layered(torch.zeros(16, 4, 3, 20, 20, dtype=torch.uint8))
    changed = random_background(black)
    assert any(not view[0].equal(view[3]) for view in changed)
    red = torch.tensor([200, 0, 0], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 5, 7)
    sky = random_background(black, red)[..., :5, :]
    assert (sky == torch.tensor([200, 0, 0])[:, None, None]).all()


def test_layers_are_seen_by_no_one_but_the_augmentation_that_needs_them():
    torch.manual_seed(0)
    frames = layered(torch.randint(256, (8, 4, 3, 20, 20), dtype=torch.uint8))
    obs, next_obs = frames[:, :3].flatten(1, 2), frames[:, 1:].flatten(1, 2)
    names = ("random_convolution", "random_background")
    before, after = StrongAugmenter(names, 3).transitions(obs, next_obs, 0.5)
    assert before.shape == after.shape == (8, 9, 20, 20)
    assert before[4:].equal(frames[4:, :3, :3].flatten(1, 2))
    assert after[4:].equal(frames[4:, 1:, :3].flatten(1, 2))
    assert before[:4, 3:].equal(after[:4, :-3])  # both observations show one place


def test_layers_are_the_numbers_that_the_renderer_tells():
    assert {layer.name: layer.value for layer in Layer} == {layer.name: layer.value for layer in renderer.Layer}
