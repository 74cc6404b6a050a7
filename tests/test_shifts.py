import pickle
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import plain
import pytest

import envs
from envs import EnvConfig
from envs.shifts import SHIFTS, VideoFiles, make_shift
from envs.shifts.backgrounds import FRAMES, SIZE, generate_background
from envs.shifts.colors import generate_colors, read_colors
from envs.shifts.video import is_green, resize

PUBLISHED = Path(__file__).parents[2] / "shared" / "data"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")


def rollout(task: str, shift: str, seed: int = 3, steps: int = 5, **settings):
    """Observations, rewards, and the simulator's whole state after each step."""
    env = envs.make(EnvConfig(task=task, shift=shift, image_size=32, **settings))
    rng = np.random.default_rng(0)
    obs, _ = env.reset(seed=seed)
    pictures, rewards, states = [obs], [], []
    for _ in range(steps):
        obs, reward, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        pictures.append(obs)
        rewards.append(reward)
        states.append(env.unwrapped._env.physics.get_state().copy())
    env.close()
    return np.stack(pictures), np.array(rewards), np.stack(states)


def first_picture(task: str, shift: str, seed: int = 3) -> np.ndarray:
    env = envs.make(EnvConfig(task=task, shift=shift, image_size=32))
    obs, _ = env.reset(seed=seed)
    env.close()
    return obs


@pytest.mark.parametrize("task", envs.PAPER_TASKS)
def test_a_shift_changes_pixels_but_never_reward_or_physics(task):
    pictures, rewards, states = rollout(task, "none")
    for shift in SHIFTS[1:]:
        shifted, same_rewards, same_states = rollout(task, shift)
        assert (same_rewards == rewards).all(), shift
        assert (same_states == states).all(), shift
        # The reacher's camera looks straight down: it sees no sky, and so no film behind the robot.
        assert (shifted != pictures).mean() > 0.02 or (task, shift) == ("reacher_easy", "video_easy"), shift


@pytest.mark.parametrize("shift", SHIFTS)
def test_an_episode_is_the_same_whatever_ran_before(shift):
    env = envs.make(EnvConfig(task="walker_walk", shift=shift, image_size=32))
    action = np.full(env.action_space.shape, 0.3)

    def episode(seed: int) -> np.ndarray:
        obs, _ = env.reset(seed=seed)
        return np.stack([obs, *[env.step(action)[0] for _ in range(3)]])

    first = episode(5)
    episode(6), episode(7)
    assert (episode(5) == first).all()
    env.close()


@pytest.mark.parametrize("shift", SHIFTS[1:])
def test_episodes_differ_in_what_they_show(shift):
    looks = [first_picture("finger_spin", shift, seed=seed) for seed in range(4)]
    assert any((looks[0] != look).mean() > 0.2 for look in looks[1:])


def test_the_recoloured_picture_is_that_of_a_recompiled_model():
    """The published benchmark writes colours into the XML and compiles it; ours must look the same."""
    from dm_control.suite import cartpole, common

    from envs.appearance import Appearance
    from envs.renderer import Renderer

    colors = generate_colors("color_hard")[0]
    text = {name: " ".join(map(str, map(float, value))) for name, value in colors.items()}
    assets = dict(common.ASSETS)
    materials = assets["./common/materials.xml"].decode()
    materials = materials.replace('rgb1=".1 .2 .3"', f'rgb1="{text["grid_rgb1"]}"')
    materials = materials.replace('rgb2=".2 .3 .4"', f'rgb2="{text["grid_rgb2"]}"')
    materials = materials.replace('name="self" rgba=".7 .5 .3 1"', f'name="self" rgba="{text["self_rgb"]} 1"')
    assets["./common/materials.xml"] = materials.encode()
    skybox = assets["./common/skybox.xml"].decode().replace('rgb1=".4 .6 .8"', f'rgb1="{text["skybox_rgb"]}"')
    assets["./common/skybox.xml"] = skybox.encode()
    xml = cartpole.get_model_and_assets()[0]
    recompiled = cartpole.Physics.from_xml_string(xml, assets)
    recolored = cartpole.Physics.from_xml_string(xml, common.ASSETS)
    Appearance(recolored).recolor(**colors)
    pictures = []
    for physics in (recompiled, recolored):
        with physics.reset_context():
            pass
        renderer = Renderer(physics, 64, 64, 0, "fast")
        pictures.append(renderer.render())
        renderer.close()
    assert (pictures[0] == pictures[1]).all()


def test_restoring_brings_back_the_training_environments_colours():
    shifted, plain = (envs.make(EnvConfig(shift=shift, image_size=32)) for shift in ("color_hard", "none"))
    shifted.reset(seed=1)
    env = shifted.unwrapped
    env._appearance.restore()
    env._renderer(32).upload(env._appearance.textures)
    assert (env.picture(32).transpose(2, 0, 1) == plain.reset(seed=1)[0][-3:]).all()


def test_the_green_screen_is_the_benchmarks_pixel_for_pixel():
    picture = np.random.default_rng(0).integers(256, size=(160, 160, 3), dtype=np.uint8)
    assert (is_green(picture) == plain.is_green(picture)).all()


def test_the_green_screen_agrees_on_the_borders_of_its_range():
    # Colours whose hue, saturation or value lies on or next to a limit.
    values = [0, 69, 70, 71, 79, 80, 81, 85, 120, 170, 175, 180, 240, 254, 255]
    picture = np.array(np.meshgrid(values, values, values), np.uint8).reshape(3, -1, 1).transpose(1, 2, 0)
    assert (is_green(picture) == plain.is_green(picture)).all()


def test_the_film_shows_where_the_screen_was_and_the_robot_stays():
    shifted, plain = (first_picture("cartpole_balance", shift)[-3:].astype(int) for shift in ("video_hard", "none"))
    robot = plain[0] > plain[2] + 30  # the body is the only thing that is much redder than blue
    assert robot.sum() > 10
    assert (shifted == plain)[:, robot].mean() > 0.9
    assert (shifted == plain)[:, ~robot].mean() < 0.5


def test_our_colours_are_a_hundred_valid_looks_and_hard_ones_reach_further():
    easy, hard = generate_colors("color_easy"), generate_colors("color_hard")
    assert len(easy) == len(hard) == 100
    assert all((value >= 0).all() and (value <= 1).all() for look in easy + hard for value in look.values())
    assert np.std([look["self_rgb"] for look in hard]) > 1.5 * np.std([look["self_rgb"] for look in easy])
    validation = generate_colors("color_hard", "validation")
    assert not any(np.array_equal(a["self_rgb"], b["self_rgb"]) for a in hard for b in validation)


def test_our_backgrounds_move_loop_and_differ():
    film = generate_background("video_hard", "test", 0).astype(int)
    assert film.shape == (FRAMES, SIZE, SIZE, 3)
    steps = np.abs(np.diff(film, axis=0)).mean((1, 2, 3))
    assert steps.min() > 0.1
    assert np.abs(film[-1] - film[0]).mean() < 2 * steps.max()
    assert (generate_background("video_hard", "test", 0) == film).all()
    for other in (("video_hard", "test", 1), ("video_hard", "validation", 0), ("video_easy", "test", 0)):
        assert np.abs(generate_background(*other).astype(int) - film).mean() > 5


def test_scaling_is_bilinear_between_pixel_centres():
    ramp = np.tile(np.arange(0, 200, 20, dtype=np.uint8)[None, :, None], (10, 1, 3))
    assert resize(ramp, 20)[0, :4, 0].tolist() == [0, 5, 15, 25]
    assert (resize(ramp, 10) == ramp).all()


def write_film(path: Path, frames: int = 6, color: int = 200) -> None:
    film = np.zeros((frames, 64, 64, 3), np.uint8)
    film[..., 0] = color
    iio.imwrite(path, film, plugin="pyav", codec="libx264", fps=10)


@pytest.mark.parametrize("layout", ["video_easy", "."])
def test_films_are_read_from_the_benchmarks_layout_or_a_plain_folder(tmp_path, layout):
    (tmp_path / layout).mkdir(exist_ok=True)
    write_film(tmp_path / layout / "a.mp4")
    env = envs.make(EnvConfig(shift="video_easy", shift_data=str(tmp_path), image_size=32))
    obs, _ = env.reset(seed=0)
    assert obs[-3, 0, 0] > 150  # red sky
    assert obs[-2, 0, 0] < 60


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read as a video"), (b"hello" * 100, "cannot be read as a video"), (None, "holds 1 frames")],
)
def test_a_corrupt_or_too_short_film_is_named(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    write_film(path, 1) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        VideoFiles([path])
    assert str(path) in str(error.value)


def test_a_truncated_film_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    write_film(path, 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as a video"):
        VideoFiles([path]).frames(0, 32)


def test_an_empty_folder_is_named_and_nothing_stands_in_for_it(tmp_path):
    for shift in SHIFTS[1:]:
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            make_shift(shift, tmp_path)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            make_shift(shift, tmp_path / "nowhere")


@pytest.mark.parametrize(("name", "split"), [("colour_hard", "test"), ("color_hard", "train")])
def test_unknown_names_are_refused_with_those_known(name, split):
    with pytest.raises(ValueError, match="unknown .*; known: "):
        make_shift(name, split=split)


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", [[Bomb()], [{"grid_rgb1": Bomb()}], "text", [], [{"grid_rgb1": 1}], [1, 2]])
def test_a_colour_file_is_read_without_executing_it(tmp_path, content, capsys):
    path = tmp_path / "color_hard.pt"
    with path.open("wb") as file:
        for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content):
            pickle.dump(header, file, protocol=2)
    with pytest.raises(ValueError, match=r"color_hard\.pt"):
        read_colors(path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("legacy", [True, False])
def test_colours_are_read_from_both_of_torchs_formats(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    looks = [{name: np.array(value) for name, value in look.items()} for look in generate_colors("color_easy")]
    torch.save(looks, tmp_path / "color_easy.pt", _use_new_zipfile_serialization=not legacy)
    read = read_colors(tmp_path / "color_easy.pt")
    assert all((a[name] == b[name]).all() for a, b in zip(looks, read, strict=True) for name in a)


@published
def test_the_published_colours_are_read():
    colors = read_colors(PUBLISHED / "color_easy.pt")
    assert len(colors) == 100
    with pytest.raises(FileNotFoundError, match=r"no color_hard\.pt"):
        make_shift("color_hard", PUBLISHED)


@published
@pytest.mark.parametrize(("shift", "count"), [("video_easy", 2), ("video_hard", 4)])
def test_the_published_films_are_read(shift, count):
    films = VideoFiles.of_shift(PUBLISHED, shift)
    assert len(films) == count
    frames = films.frames(0, 100)
    assert frames.shape[1:] == (100, 100, 3)
    assert len(frames) > 50
