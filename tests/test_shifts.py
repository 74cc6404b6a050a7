import copy
import pickle
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import gymnasium as gym
import imageio.v3 as iio
import mujoco
import numpy as np
import plain
import pytest
from test_envs import check_strictly

import envs
from envs import SHIFTS, EnvConfig, shifts
from envs.shifts import VideoFiles, make_shift, normalize, register
from envs.shifts.backgrounds import FRAMES, SIZE, generate_background
from envs.shifts.base import Shift
from envs.shifts.colors import generate_colors, read_colors
from envs.shifts.video import FilmCache, _ends_early, is_green, resize

BENCHMARK = ("color_easy", "color_hard", "video_easy", "video_hard")
DYNAMICS = [name for name, kind in SHIFTS.items() if kind.group == "dynamics"]
VISIBLE = [name for name in SHIFTS if name not in DYNAMICS]
QUICK = (
    "color_hard", "distracting_background", "distracting_camera", "mass", "action_delay", "camera_motion", "shadows",
    "body_texture", "spheres", "video_hard", "patches", "noise", "repeated_frames",
)  # fmt: skip
"""One of each kind: the others are tried with the slow tests."""
PUBLISHED = Path(__file__).parents[2] / "shared" / "data"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")


def each(names: Iterable[str]) -> pytest.MarkDecorator:
    """Every one of the shifts, those that are not quick among the slow tests."""
    return pytest.mark.parametrize(
        "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]
    )


@lru_cache(maxsize=16)
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


def same(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> bool:
    return all((a == b).all() for a, b in zip(first, second, strict=True))


def check_visible(task: str, name: str) -> None:
    steps = 40 if name in ("repeated_frames", "dropped_frames") else 8  # some pictures fail, not all
    pictures, rewards, states = rollout(task, "none", steps=steps)
    shifted, same_rewards, same_states = rollout(task, name, steps=steps)
    assert (same_rewards == rewards).all()
    assert (same_states == states).all()
    # The reacher's camera looks straight down: it sees no sky, and so no film behind the robot.
    blind = (task, name) == ("reacher_easy", "video_easy")
    assert (shifted != pictures).mean() > 0.001 or blind


def check_dynamics(task: str, name: str) -> None:
    pictures, _, states = rollout(task, "none", steps=8)
    shifted, _, other_states = rollout(task, name, steps=8)
    assert (shifted[0] == pictures[0]).all()  # an episode begins as in training
    assert (other_states != states).any()
    assert np.isfinite(other_states).all()


def check_identity(task: str, name: str) -> None:
    assert same(rollout(task, "none"), rollout(task, f"{name}:0"))


def check_reproducible(task: str, name: str) -> None:
    env = envs.make(EnvConfig(task=task, shift=name, image_size=32))
    action = np.full(env.action_space.shape, 0.3)

    def episode(seed: int) -> tuple[np.ndarray, np.ndarray]:
        obs, _ = env.reset(seed=seed)
        steps = [env.step(action) for _ in range(4)]
        return np.stack([obs, *[step[0] for step in steps]]), np.array([step[1] for step in steps])

    first = episode(5)
    episode(6), episode(7)
    assert same(episode(5), first)
    env.close()


@each(VISIBLE)
def test_a_shift_changes_pixels_but_never_reward_or_physics(name):
    check_visible("walker_walk", name)


@each(DYNAMICS)
def test_a_shift_of_dynamics_changes_the_physics_and_not_the_first_picture(name):
    check_dynamics("cartpole_swingup", name)


@each(SHIFTS)
def test_at_strength_0_a_shift_is_the_training_environment_to_the_bit(name):
    check_identity("cartpole_swingup", name)


@each(SHIFTS)
def test_an_episode_is_the_same_whatever_ran_before(name):
    check_reproducible("finger_spin", name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIFTS)  # varies quickest: what it is compared with is kept
@pytest.mark.parametrize("task", envs.PAPER_TASKS)
def test_every_shift_keeps_its_promises_on_every_task_of_the_paper(task, name):
    check_dynamics(task, name) if name in DYNAMICS else check_visible(task, name)
    check_identity(task, name)
    check_reproducible(task, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIFTS)  # varies quickest: what it is compared with is kept
@pytest.mark.parametrize("task", envs.PAPER_TASKS)
def test_every_shift_passes_gymnasiums_checks_on_every_task_of_the_paper(task, name):
    check_strictly(gym.make(f"pad/{task}-v0", image_size=32, episode_length=40, shift=name), skip_render_check=True)


@each(name for name in VISIBLE if name not in ("blur", "compression"))
def test_episodes_differ_in_what_they_show(name):
    def difference(seed: int) -> np.ndarray:
        """What the shift makes of the fifth picture, beside the training environment's."""
        shifted, _, _ = rollout("finger_spin", name, seed)
        plain, _, _ = rollout("finger_spin", "none", seed)
        return shifted.astype(int) - plain

    looks = [difference(seed) for seed in range(4)]
    assert any((looks[0] != look).mean() > 0.002 for look in looks[1:])


@each(VISIBLE)
def test_a_greater_strength_is_a_greater_difference(name):
    plain, _, _ = rollout("walker_walk", "none", steps=20)
    away = [
        np.abs(rollout("walker_walk", f"{name}:{strength}", steps=20)[0].astype(int) - plain).mean()
        for strength in (0.05, 1.0)
    ]
    # Of the suite of that name the strength of a background is how many films there are.
    assert away[0] < away[1] or name.startswith("distracting_background")


def test_shifts_act_together_and_each_as_it_does_alone():
    together, _, _ = rollout("walker_walk", "brightness + color_hard")
    alone, _, _ = rollout("walker_walk", "color_hard")
    brighter, _, _ = rollout("walker_walk", "brightness")
    plain, _, _ = rollout("walker_walk", "none")
    step = (brighter.astype(int) - plain)[(plain > 90) & (plain < 160)]
    moved = (together.astype(int) - alone)[(alone > 90) & (alone < 160)]
    assert len(set(step)) == 1
    assert set(moved) == set(step)


def test_the_order_of_names_does_not_matter():
    assert normalize("noise:0.2+ camera : 0.40 + color_hard") == "color_hard + camera:0.4 + noise:0.2"
    assert same(rollout("walker_walk", "noise + camera"), rollout("walker_walk", "camera + noise"))


def test_a_shift_begins_ends_and_returns_at_its_step():
    plain, _, _ = rollout("walker_walk", "none", steps=12, frame_stack=1)
    seen, _, _ = rollout("walker_walk", "none@0, color_hard@3, none@6, repeat@8", steps=12, frame_stack=1)
    differs = (seen != plain).any((1, 2, 3)).tolist()
    assert differs == [step % 8 in (3, 4, 5) for step in range(13)]


def test_dynamics_return_to_those_of_training_when_their_shift_ends():
    env = envs.make(EnvConfig(shift="mass + force + friction + actuator_gain@0, none@3"))
    env.reset(seed=0)
    fresh = envs.make(EnvConfig())
    model, wanted = (e.unwrapped._env.physics.model for e in (env, fresh))
    assert (model.body_mass != wanted.body_mass).any()
    for _ in range(3):
        env.step(np.ones(1))
    for name in ("body_mass", "body_inertia", "body_subtreemass", "geom_friction", "dof_damping", "actuator_gainprm"):
        assert (getattr(model, name) == getattr(wanted, name)).all(), name
    assert (env.unwrapped._env.physics.data.xfrc_applied == 0).all()


def test_a_strength_that_grows_reaches_its_end_with_the_episode():
    settings = {"frame_stack": 1, "episode_length": 80}
    plain, _, _ = rollout("walker_walk", "none", steps=20, **settings)
    growing, _, _ = rollout("walker_walk", "brightness:0..1", steps=20, **settings)
    full, _, _ = rollout("walker_walk", "brightness", steps=20, **settings)
    away = np.abs(growing.astype(int) - plain).mean((1, 2, 3))
    assert away[0] == 0
    assert (np.diff(away) > 0).mean() > 0.8
    assert (growing[-1] == full[-1]).all()


def test_an_action_arrives_late_by_a_share_of_four_decisions():
    delayed, prompt = (envs.make(EnvConfig(shift=shift), "state") for shift in ("action_delay:0.5", "none"))
    delayed.reset(seed=0), prompt.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 1))
    late = [delayed.step(action)[0] for action in actions]
    expected = [prompt.step(action)[0] for action in [np.zeros(1)] * 2 + list(actions[:4])]
    assert (np.array(late) == np.array(expected)).all()


def test_the_published_shifts_draw_what_they_drew_before_there_were_others():
    """Whoever evaluated before meets the same episodes."""
    env = envs.make(EnvConfig(shift="color_hard", image_size=32))
    env.reset(seed=3)
    _, shift_seed = np.random.default_rng(np.random.SeedSequence(3)).integers(2**32, size=2)
    look = generate_colors("color_hard")[int(np.random.default_rng(int(shift_seed)).integers(100))]
    physics = env.unwrapped._env.physics
    assert physics.named.model.mat_rgba["self", :3] == pytest.approx(look["self_rgb"], abs=1e-6)


def test_beside_another_shift_the_same_film_is_found_without_its_green_screen():
    film, _, _ = rollout("walker_walk", "video_hard", frame_stack=1)
    beside, _, _ = rollout("walker_walk", "video_hard + light_color:0.001", frame_stack=1)
    assert (np.abs(film.astype(int) - beside).max(1) > 10).mean() < 0.1


@pytest.mark.parametrize("quality", ["fast", "standard"])
def test_a_shift_of_no_strength_beside_a_film_changes_nothing(quality):
    pictures = []
    for shift in ("video_hard", "video_hard + noise:0", "color_hard:0 + video_hard"):
        env = envs.make(EnvConfig(shift=shift, quality=quality, image_size=64))
        pictures.append(env.reset(seed=1)[0])
        env.close()
    assert (pictures[1] == pictures[0]).all()
    assert (pictures[2] == pictures[0]).all()


def test_what_a_shift_draws_does_not_depend_on_what_acts_beside_it():
    env = envs.make(EnvConfig(task="walker_walk", shift="color_hard + video_easy", image_size=32))
    env.reset(seed=1)
    alone = envs.make(EnvConfig(task="walker_walk", shift="video_easy", image_size=32))
    alone.reset(seed=1)
    films = [e.unwrapped._shift._segments[0][-1]._index for e in (env, alone)]
    assert films[0] == films[1]


@pytest.mark.parametrize("task", ["ball_in_cup_catch", "walker_walk", "cheetah_run", "cartpole_swingup"])
def test_another_mass_is_that_of_a_model_which_has_it(task):
    """MuJoCo computes some constants of masses when it compiles a model: they must follow."""
    env = envs.make(EnvConfig(task=task, shift="mass"), "state")
    env.reset(seed=0)
    changed = env.unwrapped._env.physics.model.ptr
    heavier = copy.copy(envs.tasks.load(task).physics.model.ptr)
    heavier.body_mass[:], heavier.body_inertia[:] = changed.body_mass, changed.body_inertia
    mujoco.mj_setConst(heavier, mujoco.MjData(heavier))
    for name in ("body_subtreemass", "dof_M0", "body_invweight0", "dof_invweight0", "tendon_invweight0"):
        assert getattr(changed, name) == pytest.approx(getattr(heavier, name)), name


def test_things_fall_alike_whatever_their_mass():
    def fall(shift: str) -> np.ndarray:
        env = envs.make(EnvConfig(task="ball_in_cup_catch", shift=shift), "state")
        env.reset(seed=0)
        env.step(np.zeros(2))
        physics = env.unwrapped._env.physics
        return physics.named.data.qacc[["ball_x", "ball_z"]].copy()

    assert fall("mass") == pytest.approx(fall("none"), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("ramp", ["noise:0..0.99", "noise:0.3..0.1"])
def test_a_ramp_ends_at_what_was_asked_and_never_beyond(ramp):
    env = envs.make(EnvConfig(shift=ramp, image_size=32))
    env.reset(seed=0)
    strengths = []
    for _ in range(125):
        env.step(np.zeros(1))
        strengths.append(env.unwrapped._shift._segments[0][0].strength)
    assert strengths[-1] == env.unwrapped._shift.timetable.segments[0].parts[0].end
    assert 0 <= min(strengths) <= max(strengths) <= 0.99


def test_what_returns_begins_again():
    seen, _, _ = rollout("lqr_lqr_2_1", "distracting_camera@0, repeat@4", steps=8, frame_stack=1)
    camera = envs.make(EnvConfig(shift="distracting_camera@0, repeat@4", image_size=32))
    camera.reset(seed=0)
    places = []
    for _ in range(8):
        camera.step(np.zeros(1))
        shift = camera.unwrapped._shift
        places.append(shift._segments[0][0]._place.copy())
    assert (places[3] == places[7]).all()
    assert (places[0] == places[4]).all()
    assert (places[0] != places[1]).any()
    assert seen.std() > 0


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
    env._scene.restore()
    env._shift.apply = lambda picture: picture
    assert (env.picture(32).transpose(2, 0, 1) == plain.reset(seed=1)[0][-3:]).all()


def test_the_green_screen_is_the_benchmarks_pixel_for_pixel():
    picture = np.random.default_rng(0).integers(256, size=(160, 160, 3), dtype=np.uint8)
    assert (is_green(picture) == plain.is_green(picture)).all()


def test_the_green_screen_agrees_on_the_borders_of_its_range():
    # Colours whose hue, saturation or value lies on or next to a limit.
    values = [0, 69, 70, 71, 79, 80, 81, 85, 120, 170, 175, 180, 240, 254, 255]
    picture = np.array(np.meshgrid(values, values, values), np.uint8).reshape(3, -1, 1).transpose(1, 2, 0)
    assert (is_green(picture) == plain.is_green(picture)).all()


def test_a_colour_passes_the_green_screen_alike_whatever_pictures_came_before():
    first, second = np.random.default_rng(1).integers(60, 200, size=(2, 40, 40, 3), dtype=np.uint8)
    both = np.concatenate([first, second])
    apart = [is_green(picture) for picture in (first, second)]
    assert (is_green(both) == np.concatenate(apart)).all()
    assert (is_green(both) == plain.is_green(both)).all()


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


@pytest.mark.slow
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


def test_films_are_kept_in_a_bounded_memory_those_used_last():
    made = []

    def make(name: str):
        def frames() -> np.ndarray:
            made.append(name)
            return np.zeros((10, 4, 4, 3), np.uint8)

        return frames

    cache = FilmCache(limit=2 * 10 * 8 * 8 * 3)
    for name in "abacab":
        assert cache.get(name, make(name), 8).shape == (10, 8, 8, 3)
    assert made == list("abcb")
    small = FilmCache(limit=1)
    assert small.get("a", make("a"), 8) is small.get("a", make("a"), 8)


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
    for shift in BENCHMARK:
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


def test_joints_that_rub_dryly_rub_more_too():
    env = envs.make(EnvConfig(task="finger_spin", shift="friction"), "state").unwrapped
    plain = env._env.physics.model.ptr.dof_frictionloss.copy()
    env.reset(seed=0)
    changed = env._env.physics.model.ptr.dof_frictionloss
    assert plain.any()
    assert (changed[plain > 0] != plain[plain > 0]).all()


@pytest.mark.parametrize("shift", ["none@0, color_hard@2", "friction:0", "noise@0, repeat@2"])
def test_what_a_task_makes_of_its_model_stays(shift):
    """The spinner of finger_spin is smoother than its model says."""
    env = envs.make(EnvConfig(task="finger_spin", shift=shift, image_size=32))
    for seed in range(2):
        env.reset(seed=seed)
        for _ in range(4):
            env.step(np.zeros(2))
        assert env.unwrapped._env.physics.named.model.dof_damping["hinge"] == pytest.approx(0.03)


def test_things_before_a_film_are_seen_alike_in_every_process():
    pictures = [first_picture("walker_walk", "video_hard + spheres") for _ in range(3)]
    films = first_picture("walker_walk", "video_hard + spheres:0")
    assert all((picture == pictures[0]).all() for picture in pictures)
    assert (pictures[0] != films).mean() > 0.001


def test_of_two_shifts_of_colours_the_later_one_counts_while_it_has_any_strength():
    easy, hard = (rollout("walker_walk", f"{name} + {other}:0")[0] for name, other in (
        ("color_easy", "color_hard"), ("color_hard", "color_easy")))  # fmt: skip
    assert (easy == rollout("walker_walk", "color_easy")[0]).all()
    assert (hard != easy).any()
    growing = rollout("walker_walk", "color_easy:0..1 + color_hard", episode_length=40)[0]
    assert (growing == rollout("walker_walk", "color_easy + color_hard", episode_length=40)[0]).all()


def test_beside_a_distracting_camera_the_robot_stays_what_others_turn_around():
    views = []

    class Spy(Shift):
        def arrange(self, view, agent_step):
            views.append((view.focus, view.distance))

    register("spy", Spy)
    try:
        for shift in ("spy", "distracting_camera_static + spy"):
            first_picture("walker_walk", shift)
    finally:
        shifts._KINDS.pop("spy")
    (focus, distance), (other, zoomed) = views[0], views[-1]
    assert zoomed != distance
    np.testing.assert_allclose(other, focus, atol=1e-5)


def test_where_others_look_does_not_depend_on_whether_somebody_looked_before():
    seen = []
    for early in (True, False):
        env = envs.DMControlEnv(EnvConfig(task="ball_in_cup_catch", shift="camera"), "state", render_size=32)
        env.reset(seed=0)
        if early:
            env.render()
        for _ in range(40):
            env.step(np.ones(2))
        seen.append(env.render())
    assert (seen[0] == seen[1]).all()


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("webm", "libvpx")])
def test_a_film_that_ends_before_its_header_says_is_refused(tmp_path, suffix, codec):
    path, noise = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    iio.imwrite(path, noise.integers(256, size=(60, 64, 64, 3), dtype=np.uint8), plugin="pyav", codec=codec, fps=10)
    assert len(VideoFiles([path]).frames(0, 32)) == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"ends early|cannot be read"):
        VideoFiles([path]).frames(0, 16)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_colour_file_with_a_damaged_number_takes_no_memory(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    path = tmp_path / "color_easy.pt"
    torch.save(list(generate_colors("color_easy")), path, _use_new_zipfile_serialization=not legacy)
    if not legacy:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            content = archive.read(name)
    else:
        content = path.read_bytes()
    at = content.rindex(b"r", 0, content.rindex(b"e."))  # LONG_BINPUT: a number of four bytes follows
    damaged = content[: at + 4] + b"\x7f" + content[at + 5 :]
    if legacy:
        path.write_bytes(damaged)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, damaged)
    with pytest.raises(ValueError, match="color_easy"):
        read_colors(path)


@pytest.mark.parametrize(("frames", "fps"), [(6, 2), (12, 1)])
def test_a_film_of_long_frames_is_whole(tmp_path, frames, fps):
    film = np.random.default_rng(0).integers(256, size=(frames, 64, 64, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "a.mp4", film, plugin="pyav", codec="libx264", fps=fps)
    assert len(VideoFiles([tmp_path / "a.mp4"]).frames(0, 32)) == frames


def test_a_film_that_was_cut_without_being_encoded_anew_is_whole(tmp_path):
    """Its header counts the frames before the cut too, and says that they are not to be shown."""
    assert not _ends_early(count=80, end=3.2, frames=100, seconds=3.2)
    assert _ends_early(count=80, end=3.2, frames=100, seconds=4.0)
    assert _ends_early(count=80, end=3.2, frames=100, seconds=0.0)
    assert _ends_early(count=80, end=3.2, frames=0, seconds=4.0)
    assert not _ends_early(count=80, end=3.2, frames=0, seconds=0.0)
    assert not _ends_early(count=80, end=3.2, frames=80, seconds=4.0)  # its sound lasts longer


@pytest.mark.parametrize("shift", ["camera", "noise", "color_hard", "video_easy"])
def test_data_that_is_no_folder_is_refused_whether_the_shift_reads_it_or_not(shift, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere with colours and films"):
        envs.make(EnvConfig(shift=shift, shift_data=str(tmp_path / "nowhere"), image_size=32))


def test_a_folder_has_no_splits(tmp_path):
    with pytest.raises(ValueError, match="shift_split validation is one of our own colours and backgrounds"):
        EnvConfig(shift="color_hard", shift_data=str(tmp_path), shift_split="validation")


def test_a_force_is_a_share_of_the_robots_weight():
    env = envs.make(EnvConfig(task="walker_walk", shift="force"), "state")
    env.reset(seed=0)
    physics = env.unwrapped._env.physics
    weight = physics.model.body_mass.sum() * np.linalg.norm(physics.model.opt.gravity)
    assert 0.125 * weight <= np.abs(physics.data.xfrc_applied).sum() <= 0.2501 * weight


def test_of_a_contact_only_sliding_rubs_more():
    plain, shifted = (envs.make(EnvConfig(task="walker_walk", shift=s), "state") for s in ("none", "friction"))
    plain.reset(seed=0), shifted.reset(seed=0)
    before, after = (e.unwrapped._env.physics.model.geom_friction for e in (plain, shifted))
    assert (after[:, 0] != before[:, 0]).all()
    assert (after[:, 1:] == before[:, 1:]).all()


def test_another_film_of_the_same_name_is_another_film(tmp_path):
    shown = []
    for color in (30, 200):
        write_film(tmp_path / "a.mp4", color=color)
        env = envs.make(EnvConfig(shift="video_easy", shift_data=str(tmp_path), image_size=32))
        shown.append(env.reset(seed=0)[0])
        env.close()
    assert np.abs(shown[0].astype(int) - shown[1]).max() > 100


def test_a_film_in_two_sizes_is_decoded_once_each_however_large_it_is():
    cache, made = FilmCache(limit=1), []

    def make():
        made.append(1)
        return [np.zeros((4, 4, 3), np.uint8)] * 2

    for _ in range(5):
        for size in (8, 16):
            assert cache.get(("film", size), make, size).shape == (2, size, size, 3)
    assert len(made) == 2


def test_a_film_where_no_sky_is_seen_changes_nothing():
    assert same(rollout("reacher_easy", "video_easy"), rollout("reacher_easy", "none"))
