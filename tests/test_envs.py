import gc
import multiprocessing
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs import EnvConfig, graphics
from envs.gradient import GradientEnv
from envs.renderer import Layer


def check_strictly(env: gym.Env, skip_render_check: bool) -> None:
    """Gymnasium's own checks, whose warnings are errors; closes the environment."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Actions in [-1, 1] and images are what the checker would like to see otherwise only for other spaces.
        warnings.filterwarnings("ignore", message=".*different render modes.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        check_env(env.unwrapped, skip_render_check=skip_render_check)
    env.close()


@pytest.mark.parametrize("task", envs.PAPER_TASKS)
def test_the_papers_tasks_pass_gymnasiums_checks(task):
    env = gym.make(f"pad/{task}-v0", image_size=32, episode_length=40, render_mode="rgb_array")
    check_strictly(env, skip_render_check=False)


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(envs.TASKS))
def test_every_task_of_the_suite_can_be_seen_and_acted_in(task):
    env = gym.make(f"pad/{task}-v0", image_size=32)
    obs, info = env.reset(seed=0)
    assert obs.shape == (9, 32, 32)
    assert obs.std() > 0
    assert np.isfinite(info["state"]).all()
    for _ in range(3):
        obs, reward, _terminated, _truncated, _ = env.step(env.action_space.sample())
    assert np.isfinite(reward)
    env.close()


def test_observations_are_stacked_bytes_and_the_first_is_repeated():
    env = envs.make(EnvConfig())
    obs, _ = env.reset(seed=0)
    assert obs.dtype == np.uint8
    assert obs.shape == (9, 100, 100) == env.observation_space.shape
    assert (obs[:3] == obs[3:6]).all()
    assert (obs[3:6] == obs[6:]).all()
    later, *_ = env.step(np.ones(1))
    assert (later[:6] == obs[3:]).all()
    assert (later[6:] != obs[6:]).any()


@pytest.mark.parametrize(("task", "decisions"), [("cartpole_swingup", 125), ("walker_walk", 250), ("finger_spin", 500)])
def test_an_episode_of_a_thousand_simulator_steps_is_truncated_not_terminated(task, decisions):
    env = envs.make(EnvConfig(task=task), observation="state")
    env.reset(seed=0)
    for step in range(decisions):
        _, _, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape))
        assert not terminated
        assert truncated == (step == decisions - 1)


def test_a_terminal_state_terminates():
    env = envs.make(EnvConfig(task="lqr_lqr_2_1"), observation="state")
    env.reset(seed=0)
    task = env.unwrapped._env.task
    task.get_termination = lambda physics: 0.0
    *_, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape))
    assert terminated
    assert not truncated
    with pytest.raises(gym.error.ResetNeeded, match="no episode is running"):
        env.unwrapped.step(np.zeros(env.action_space.shape))


def test_settings_really_arrive():
    config = EnvConfig(image_size=40, frame_stack=2, action_repeat=5, episode_length=23, camera=1)
    env = envs.make(config, render_size=50)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (6, 40, 40)
    assert env.render().shape == (50, 50, 3)
    before = env.unwrapped._env.physics.time()
    env.step(np.zeros(1))
    assert env.unwrapped._env.physics.time() - before == pytest.approx(5 * 0.01)
    steps = 1
    while not env.step(np.zeros(1))[3]:
        steps += 1
    assert steps + 1 == 5  # 23 simulator steps in decisions of 5, rounded up
    other = envs.make(EnvConfig(image_size=40, frame_stack=2, camera=0))
    assert (other.reset(seed=0)[0] != obs).any()


def test_the_reward_of_a_decision_is_the_sum_over_its_simulator_steps():
    once, twice = (envs.make(EnvConfig(action_repeat=n), observation="state") for n in (1, 2))
    once.reset(seed=0), twice.reset(seed=0)
    action = np.full(1, 0.5)
    expected = once.step(action)[1] + once.step(action)[1]
    assert twice.step(action)[1] == pytest.approx(expected)


def test_the_last_decision_is_shorter_where_the_length_is_no_multiple_of_it():
    env = envs.make(EnvConfig(task="cartpole_balance", episode_length=10, action_repeat=4), "state")
    env.reset(seed=0)
    before, steps, over = env.unwrapped._env.physics.time(), [], False
    while not over:
        *_, over, _ = env.step(env.action_space.sample())
        now = env.unwrapped._env.physics.time()
        steps.append(round((now - before) / env.unwrapped._env.control_timestep()))
        before = now
    assert steps == [4, 4, 2]


def test_the_state_is_offered_beside_the_observation_and_is_never_part_of_it():
    env = envs.make(EnvConfig(task="walker_walk", image_size=32))
    _, info = env.reset(seed=0)
    state_env = envs.make(EnvConfig(task="walker_walk"), observation="state")
    obs, _ = state_env.reset(seed=0)
    assert (info["state"] == obs).all()
    assert obs.dtype == np.float32


def test_standard_quality_is_dm_controls_own_picture():
    env = envs.make(EnvConfig(quality="standard"))
    obs, _ = env.reset(seed=0)
    expected = env.unwrapped._env.physics.render(100, 100, camera_id=0)
    assert (obs[-3:].transpose(1, 2, 0) == expected).all()


def test_fast_quality_differs_only_by_shadows_and_edges():
    fast, standard = (envs.make(EnvConfig(quality=quality)).reset(seed=0)[0][-3:] for quality in ("fast", "standard"))
    assert np.abs(fast.astype(int) - standard).mean() < 6
    assert (fast != standard).any()


@pytest.mark.parametrize("quality", ["fast", "standard"])
def test_layers_tell_things_from_ground_and_sky_and_leave_the_picture_as_it_is(quality):
    env, plain = (envs.make(EnvConfig(task="walker_walk", quality=quality)) for _ in range(2))
    env.reset(seed=1), plain.reset(seed=1)
    env.action_space.seed(1)
    for _ in range(3):
        action = env.action_space.sample()
        obs, expected = env.step(action)[0], plain.step(action)[0]
        layers = env.unwrapped.layers()
        assert np.array_equal(obs, expected)
    assert layers.dtype == np.uint8
    assert layers.shape == (100, 100)
    assert set(np.unique(layers)) == {0, 1, 2}
    assert layers[0, 0] == 2
    assert layers[-1, 0] == 1
    # The walker is the only orange thing. A pixel at its edge may be mixed of both.
    red, _, blue = obs[-3:].astype(int)
    orange, thing = red - blue > 60, layers == 0
    assert np.mean(orange[thing]) > 0.85
    edge = np.pad(thing, 1)
    edge = np.logical_or.reduce([edge[y : y + 100, x : x + 100] for y in range(3) for x in range(3)])
    assert not (orange & (layers == 2) & ~edge).any()


def test_closing_one_environment_does_not_blind_another():
    first, second = (envs.make(EnvConfig(image_size=48)) for _ in range(2))
    seen, _ = first.reset(seed=1)
    second.reset(seed=2)
    second.close()
    assert (first.reset(seed=1)[0] == seen).all()
    third = envs.make(EnvConfig(image_size=48))
    assert (third.reset(seed=1)[0] == seen).all()
    third.close()
    third.close()
    assert (first.reset(seed=1)[0] == seen).all()


def test_another_library_that_draws_in_the_same_process_disturbs_nothing():
    config = EnvConfig(shift="color_hard", image_size=48)
    seen, _ = envs.make(config).reset(seed=1)
    from dm_control import suite  # after envs, which chooses the renderer

    other = suite.load("walker", "walk")
    their_view = other.physics.render(48, 48, camera_id=0)
    env = envs.make(config)
    assert (other.physics.render(48, 48, camera_id=0) == their_view).all()
    del other  # dm_control frees what it holds, in the context that it believes current
    gc.collect()
    assert (env.reset(seed=1)[0] == seen).all()


def test_an_environment_that_nobody_closes_blinds_no_other():
    first = envs.make(EnvConfig(image_size=48))
    seen, _ = first.reset(seed=1)
    for seed in range(3):
        envs.make(EnvConfig(image_size=40)).reset(seed=seed)
        gc.collect()
    assert (first.reset(seed=1)[0] == seen).all()


def test_pictures_of_another_size_do_not_disturb_the_observation():
    env = envs.make(EnvConfig(image_size=32, shift="video_hard"), render_size=128)
    obs, _ = env.reset(seed=1)
    env.render()
    again, _ = env.reset(seed=1)
    assert (again == obs).all()
    assert env.render().shape == (128, 128, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "cartpole_swing"}, "unknown task 'cartpole_swing'; known: "),
        ({"shift": "fog"}, "unknown shift 'fog'; known: none, color_easy"),
        ({"camera": 7}, "unknown camera 7; known: 0 "),
        ({"quality": "best"}, "unknown quality 'best'; known: fast, standard"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(settings, message):
    with pytest.raises(ValueError, match=message):
        envs.make(EnvConfig(**settings))


@pytest.mark.parametrize("name", ["action_repeat", "frame_stack", "image_size", "episode_length"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number .*1.*, got 0"):
        EnvConfig(**{name: 0})


@pytest.mark.parametrize("settings", [{"episode_length": float("nan")}, {"image_size": 40_000}, {"frame_stack": 2.5}])
def test_counts_that_are_none_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be a whole number"):
        EnvConfig(**settings)


@pytest.mark.parametrize("settings", [{"camera": 7}, {"quality": "best"}])
def test_what_does_not_exist_is_refused_though_nothing_is_seen(settings):
    with pytest.raises(ValueError, match="unknown"):
        envs.make(EnvConfig(**settings), "state")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "pixles"}, "observation must be pixels or state, got 'pixles'"),
        ({"render_size": 0}, "render_size must be a whole number from 1 to 4096, got 0"),
        ({"render_size": -3}, "render_size must be a whole number from 1 to 4096, got -3"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        envs.make(EnvConfig(), **arguments)
    if "observation" in arguments:
        with pytest.raises(ValueError, match="got 'pixles'"):
            GradientEnv("pixles")


def test_without_an_episode_nothing_is_stepped_or_seen():
    env = envs.DMControlEnv(EnvConfig(), "state")
    for call in (lambda: env.step(np.zeros(1)), env.render):
        with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) before"):
            call()


def test_what_was_rendered_belongs_to_whoever_asked_for_it():
    twins = [envs.make(EnvConfig(image_size=32, shift="repeated_frames"), render_size=32) for _ in range(2)]
    pictures = [[env.reset(seed=0)[0]] for env in twins]
    for _ in range(20):
        for env, seen in zip(twins, pictures, strict=True):
            seen.append(env.step(np.zeros(1))[0])
        twins[0].render()[:] = 0
    assert (np.stack(pictures[0]) == np.stack(pictures[1])).all()


def test_a_closed_environment_is_gone_at_once():
    gc.collect()
    gc.disable()
    try:
        env = envs.DMControlEnv(EnvConfig(image_size=16, shift="camera"))
        env.reset(seed=0)
        scene = weakref.ref(env._scene)
        env.close()
        del env
        assert scene() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("action", [np.full(1, np.nan), np.zeros(2), np.zeros((1, 1))])
def test_actions_that_are_none_are_refused(action):
    env = envs.make(EnvConfig(), observation="state")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must be finite with shape \(1,\)"):
        env.step(action)


def test_a_machine_without_opengl_is_told_what_to_install():
    code = (
        "import envs\n"
        "env = envs.make(envs.EnvConfig(), 'state'); env.reset(seed=0)\n"  # physics needs no OpenGL
        "try: envs.make(envs.EnvConfig())\n"
        "except envs.OpenGLUnavailable as error: print(error)"
    )
    environment = {"MUJOCO_GL": "disable", "PATH": "/usr/bin:/bin"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0" in result.stdout


@pytest.mark.parametrize(
    "environment", [{"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent", "MUJOCO_GL": "egl"}, {"MUJOCO_GL": "bogus"}]
)
def test_a_display_that_does_not_answer_is_one_line_and_exit_code_2(environment):
    script = Path(__file__).parents[1] / "scripts" / "eval.py"
    environment = {"PATH": "/usr/bin:/bin", **environment}
    result = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "sudo apt-get install libegl1" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_program_that_closes_nothing_ends_in_silence():
    code = "import envs; env = envs.make(envs.EnvConfig(image_size=32)); env.reset(seed=0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Error" not in result.stderr


def test_a_task_whose_model_is_written_in_an_old_way_is_made_without_a_word():
    code = "import envs; envs.make(envs.EnvConfig(task='cheetah_run')).close()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == ""


def test_the_users_own_choice_of_renderer_is_kept():
    code = "import os, envs.opengl as o; o.choose(); print(os.environ['MUJOCO_GL'])"
    environment = {"MUJOCO_GL": "disable", "PATH": "/usr/bin:/bin"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "disable"


def test_mujoco_imported_too_early_is_told_from_a_missing_library():
    code = "import dm_control.suite, envs; envs.make(envs.EnvConfig(image_size=32))"
    environment = {"PATH": "/usr/bin:/bin"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "import envs before" in result.stderr


def test_the_probe_names_the_renderer_that_answers():
    from envs.opengl import probe

    assert ": " in probe()


def test_a_terrain_that_each_episode_draws_is_seen_as_it_is_whatever_ran_before():
    env = envs.make(EnvConfig(task="quadruped_escape", image_size=48))
    fresh, _ = env.reset(seed=1)
    env.reset(seed=2)
    again, _ = env.reset(seed=1)
    assert (again == fresh).all()
    env.close()


def test_an_action_beyond_the_bounds_is_held_there():
    # Of a task whose model does not hold controls itself.
    beyond, at = (envs.make(EnvConfig(task="lqr_lqr_2_1"), "state") for _ in range(2))
    beyond.reset(seed=0), at.reset(seed=0)
    for _ in range(3):
        one, other = beyond.step(np.full(1, 3.0)), at.step(np.ones(1))
        assert (one[0] == other[0]).all()
        assert one[1] == other[1]


def test_a_film_plays_as_fast_as_the_agent_decides():
    assert envs.make(EnvConfig(task="walker_walk"), "state").unwrapped.metadata["render_fps"] == 10  # 0.025 s, 4 steps


def test_a_call_from_the_thread_of_opengl_is_answered_there():
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(graphics.call(lambda: graphics.call(lambda: 1))), daemon=True
    )
    asking.start()
    asking.join(10)
    assert answers == [1]


def _ends_well_in_a_forked_child(env, answers) -> None:
    try:
        env.step(np.zeros(1))
    except envs.OpenGLUnavailable as error:
        answers.put(str(error))
    own = envs.make(EnvConfig(image_size=24))
    answers.put(own.reset(seed=3)[0])
    own.close()


def test_a_forked_child_makes_environments_of_its_own():
    env = envs.make(EnvConfig(image_size=24))
    expected = env.reset(seed=3)[0]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_ends_well_in_a_forked_child, args=(env, answers))
    child.start()
    assert "made before the process forked: make it anew" in answers.get(timeout=60)
    assert (answers.get(timeout=60) == expected).all()
    child.join(60)
    assert child.exitcode == 0


def test_what_gymnasium_makes_of_pictures_works_and_other_modes_are_refused():
    env = gym.make("pad/cartpole_swingup-v0", image_size=24, render_size=24, render_mode="rgb_array_list")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert [frame.shape for frame in env.render()] == [(24, 24, 3)] * 2
    env.close()
    silent = gym.make("pad/cartpole_swingup-v0", image_size=24, render_mode=None)
    silent.reset(seed=0)
    assert silent.unwrapped.render() is None
    silent.close()
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        envs.DMControlEnv(EnvConfig(), render_mode="human")
    state = gym.make("pad/cartpole_swingup-v0", observation="state")
    assert state.observation_space.shape == (5,)
    state.close()


def test_an_episode_that_fails_at_its_first_picture_has_not_begun(monkeypatch):
    env = envs.make(EnvConfig(image_size=24, shift="noise:0.5"))
    env.reset(seed=0)
    monkeypatch.setattr(env.unwrapped._shift, "apply", lambda picture: [][0])
    with pytest.raises(IndexError):
        env.reset(seed=1)
    monkeypatch.undo()
    with pytest.raises(gym.error.ResetNeeded):
        env.unwrapped.step(env.action_space.sample())
    env.reset(seed=1)
    env.step(env.action_space.sample())
    env.close()


def test_a_closed_environment_says_so():
    env = envs.DMControlEnv(EnvConfig(image_size=24))
    env.reset(seed=0)
    env.close()
    env.close()
    for use in (env.reset, env.render, lambda: env.step(np.zeros(1))):
        with pytest.raises(gym.error.ClosedEnvironmentError):
            use()


def test_layers_are_those_of_the_shifted_camera_whether_or_not_it_was_looked_through():
    seen = []
    for observation in ("pixels", "state"):
        env = envs.DMControlEnv(EnvConfig(task="walker_walk", shift="camera", image_size=48), observation)
        env.reset(seed=2)
        seen.append(env.layers())
        env.close()
    assert (seen[0] == seen[1]).all()


@pytest.mark.parametrize("camera", [np.int64(0), "fixed"])
def test_a_camera_has_a_number_and_a_name(camera):
    plain, other = envs.make(EnvConfig(image_size=24)), envs.make(EnvConfig(image_size=24, camera=camera))
    assert (plain.reset(seed=0)[0] == other.reset(seed=0)[0]).all()
    plain.close()
    other.close()


def test_a_terrain_is_ground():
    env = envs.DMControlEnv(EnvConfig(task="quadruped_escape", image_size=48))
    env.reset(seed=0)
    assert (env.layers() == Layer.GROUND).mean() > 0.2
    env.close()


def test_environments_in_threads_of_their_own_are_what_they_are_alone():
    def episode(seed: int) -> np.ndarray:
        env = envs.make(EnvConfig(image_size=24, shift="video_easy"))
        frames = [env.reset(seed=seed)[0]] + [env.step(np.full(1, 0.5))[0] for _ in range(10)]
        env.close()
        return np.array(frames)

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(episode, range(6)))
    assert all((found == episode(seed)).all() for seed, found in enumerate(together))
