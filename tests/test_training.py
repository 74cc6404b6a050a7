"""Training on the gradient-image environment: it learns, it stops without loss, and it goes on as if it had not."""

import dataclasses
import json
import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from conftest import SMALL, make_agent

from envs.gradient import make_gradient_env
from pad.augmentations import center_crop, random_crop
from pad.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, load_train_state
from pad.cloning import CloneConfig, Cloning
from pad.deployment import FrozenPolicy
from pad.evaluation import run_episode
from pad.expert import ExpertConfig
from pad.sac import SAC, SACConfig
from pad.tracking import Tracker, TrackingConfig
from pad.training import Interrupted, Run, TrainingConfig, make_phases, train
from pad.training.augmentation import weakly_augmented_batch
from pad.training.collection import Pending, Trajectory
from pad.training.progress import Progress
from pad.training.stepping import make_stepper
from pad.types import Batch

SAC_TINY = TrainingConfig(
    recipe="sac",
    steps=60,
    random_steps=20,
    batch_size=8,
    evaluations=2,
    evaluation_episodes=1,
    save_seconds=0.0,
    recording="inline",
)
STRONG = ("random_convolution", "random_overlay", "color_jitter")
SVEA_TINY = dataclasses.replace(SAC_TINY, augmentations=STRONG, weak_augmentation="random_shift")
STATE_TINY = dataclasses.replace(SAC_TINY, critic="state", augmentations=("random_overlay",))
CLONE_TINY = TrainingConfig(
    recipe="clone",
    expert=ExpertConfig(steps=40, random_steps=20, batch_size=8, hidden=8),
    clone=CloneConfig(episodes=5, expert_episodes=2, updates=12, batch_size=4, regret_weight=0.5),
    recording="inline",
    evaluations=2,
    evaluation_episodes=1,
    save_seconds=0.0,
)


def evaluate(act, episodes, video):
    env = make_gradient_env("pixels" if video else "state")
    returns = []
    for number in range(episodes):
        obs, _ = env.reset(seed=number)
        total, over = 0.0, False
        while not over:
            obs, reward, _, over, _ = env.step(act(obs))
            total += reward
        returns.append(total)
    return {"return_mean": float(np.mean(returns))}


def make_layered_env(observation="pixels"):
    """Its left half is sky, its right half a thing."""
    env = make_gradient_env(observation)
    layers = np.zeros((24, 24), np.uint8)
    layers[:, :12] = 2
    env.unwrapped.layers = lambda: layers
    return env


def run_training(
    folder: Path,
    config: TrainingConfig,
    resume: bool = False,
    stop_after: int | None = None,
    finish=lambda: None,
    make_env=make_gradient_env,
    disturb=lambda _: os.kill(os.getpid(), signal.SIGINT),
):
    """Train an agent in `folder`; after `stop_after` episodes, ask it to stop as Ctrl-C would, or disturb it else."""
    torch.manual_seed(0)
    agent = make_agent(critic=config.recipe == "sac" and config.critic == "pixels")
    torch.manual_seed(0)
    phases = make_phases(agent, make_env, config, 0, folder)
    if stop_after is not None:
        disturb_after(phases, stop_after, disturb)
    with Tracker(folder, TrackingConfig(wandb="disabled"), "test", "test", {}) as tracker:
        train(Run(folder), Checkpoint(agent), phases, config, evaluate, tracker, resume, finish)
    return agent


def disturb_after(phases, episodes: int, disturb) -> None:
    """Call something in the middle of a later episode."""
    count = 0
    for phase in phases:
        run_episode_of_phase = phase.run_episode

        def run_episode(advance, inner=run_episode_of_phase):
            nonlocal count
            count += 1
            if count == episodes + 1:

                def disturbed(units: int) -> None:
                    disturb(units)
                    advance(units)

                return inner(disturbed)
            return inner(advance)

        phase.run_episode = run_episode


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder).agent.state_dict()


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("config", "episodes"),
    [
        *(pytest.param(config, episodes, id=f"{name}-{episodes}")
          for name, config in (("sac", SAC_TINY), ("clone", CLONE_TINY)) for episodes in (1, 3, 5)),
        *(pytest.param(config, episodes, id=f"{name}-{episodes}", marks=() if episodes == 3 else pytest.mark.slow)
          for name, config in (("svea", SVEA_TINY), ("state critic", STATE_TINY)) for episodes in (1, 3, 5)),
    ],
)  # fmt: skip
def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path, config, episodes):
    run_training(tmp_path / "unbroken", config)
    with pytest.raises(Interrupted):
        run_training(tmp_path / "broken", config, stop_after=episodes)
    run_training(tmp_path / "broken", config, resume=True)
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(value.equal(found[name]) for name, value in expected.items())
    assert lines(tmp_path / "broken") == lines(tmp_path / "unbroken")


@pytest.mark.parametrize("config", [CLONE_TINY, SAC_TINY, STATE_TINY], ids=["clone", "sac", "state critic"])
def test_a_second_process_changes_nothing_but_the_time(tmp_path, config):
    for name in ("inline", "process"):
        run_training(tmp_path / name, dataclasses.replace(config, recording=name))
    expected, found = weights(tmp_path / "inline"), weights(tmp_path / "process")
    assert all(value.equal(found[name]) for name, value in expected.items())
    assert lines(tmp_path / "inline") == lines(tmp_path / "process")


def test_what_fails_in_the_second_process_is_told(tmp_path):
    here = os.getpid()

    def broken_env(observation):
        env = make_gradient_env(observation)
        if os.getpid() != here:
            raise ValueError("the camera is gone")
        return env

    phases = make_phases(make_agent(critic=False), broken_env, dataclasses.replace(CLONE_TINY, recording="process"), 0,
                         tmp_path)  # fmt: skip
    with pytest.raises(ValueError, match="the camera is gone"):
        phases[1].run_episode(lambda _: None)


def test_a_finished_run_that_is_resumed_has_nothing_left_to_do(tmp_path):
    run_training(tmp_path, CLONE_TINY)
    before = lines(tmp_path)
    run_training(tmp_path, CLONE_TINY, resume=True)
    assert lines(tmp_path) == before


def test_logged_steps_never_go_back_even_where_episodes_end_beyond_the_total(tmp_path):
    config = dataclasses.replace(CLONE_TINY, expert=dataclasses.replace(CLONE_TINY.expert, steps=45))
    run_training(tmp_path / "unbroken", config)
    with pytest.raises(Interrupted):
        run_training(tmp_path / "resumed", config, stop_after=8)
    run_training(tmp_path / "resumed", config, resume=True)
    for folder in ("unbroken", "resumed"):
        steps = [line["step"] for line in lines(tmp_path / folder)]
        assert steps == sorted(steps)
        assert steps[-1] > 50


def test_an_interrupt_when_all_is_learned_stops_too_and_what_is_left_is_done_on_resuming(tmp_path):
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        pytest.fail("it was not interrupted")

    with pytest.raises(Interrupted):
        run_training(tmp_path, SAC_TINY, finish=interrupt)
    finished = []
    run_training(tmp_path, SAC_TINY, resume=True, finish=lambda: finished.append(True))
    assert finished == [True]


@pytest.mark.parametrize("config", [SAC_TINY, CLONE_TINY], ids=["sac", "clone"])
def test_a_run_that_loses_its_simulator_goes_on_from_the_last_whole_episode(tmp_path, config):
    config = dataclasses.replace(config, save_seconds=1e9)
    run_training(tmp_path / "unbroken", config)

    def die(units: int) -> None:
        raise ChildProcessError("the process that simulates died")

    with pytest.raises(ChildProcessError, match="simulates died"):
        run_training(tmp_path / "broken", config, stop_after=4, disturb=die)
    assert load_train_state(tmp_path / "broken" / "checkpoint")["log_position"] > 0
    run_training(tmp_path / "broken", config, resume=True)
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(value.equal(found[name]) for name, value in expected.items())


@pytest.mark.parametrize("config", [SAC_TINY, CLONE_TINY], ids=["sac", "clone"])
def test_what_went_wrong_does_not_take_the_place_of_the_last_good_checkpoint(tmp_path, config, monkeypatch):
    calls = []
    for kind in (Cloning, SAC):
        update = kind.update

        def broken(self, *given, update=update, **named):
            metrics = update(self, *given, **named)
            calls.append(1)
            # Of the clone's the ninth: by then its expert has learned.
            return {**metrics, "loss": float("nan")} if len(calls) == (9 + 20 * (config.recipe == "clone")) else metrics

        monkeypatch.setattr(kind, "update", broken)
    with pytest.raises(ValueError, match="training went wrong in .*: .*loss is no number"):
        run_training(tmp_path, config)
    if config.recipe == "sac":
        assert all(value.isfinite().all() for value in weights(tmp_path).values())


@pytest.mark.parametrize("config", [SAC_TINY, CLONE_TINY], ids=["sac", "clone"])
def test_weights_that_are_no_numbers_do_not_take_the_place_of_the_last_good_ones_whatever_metrics_say(
    tmp_path, config, monkeypatch
):
    # In the last update of an episode, whose metrics are those of before the step.
    kind, last, calls = (SAC, 20, []) if config.recipe == "sac" else (Cloning, 6, [])
    update = kind.update

    def ruinous(self, *given, **named):
        metrics = update(self, *given, **named)
        calls.append(1)
        if len(calls) == last:
            next(p for p in (self._agent if kind is Cloning else self.networks).parameters()).data.fill_(float("nan"))
        return dict.fromkeys(metrics, 0.0)

    monkeypatch.setattr(kind, "update", ruinous)
    with pytest.raises(ValueError, match="training went wrong in .*: its weights or .* hold NaN or infinity"):
        run_training(tmp_path, dataclasses.replace(config, save_seconds=0.0))
    state = load_train_state(find_checkpoint(tmp_path))
    assert all(value.isfinite().all() for value in tensors_in(state))


def tensors_in(state):
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return [tensor for value in values for tensor in tensors_in(value)]


def test_a_checkpoint_says_whether_its_run_is_finished(tmp_path):
    with pytest.raises(Interrupted):
        run_training(tmp_path, SAC_TINY, stop_after=2)
    assert load_checkpoint(tmp_path).about["finished"] is False
    run_training(tmp_path, SAC_TINY, resume=True)
    assert load_checkpoint(tmp_path).about["finished"] is True


def test_saving_the_last_whole_episode_leaves_an_agent_that_has_gone_on_as_it_is_even_on_a_full_disk(
    tmp_path, monkeypatch
):
    agent = make_agent()
    with Tracker(tmp_path, TrackingConfig(wandb="disabled"), "test", "test", {}) as tracker:
        phases = make_phases(agent, make_gradient_env, SAC_TINY, 0, tmp_path)
        progress = Progress(Run(tmp_path), Checkpoint(agent), phases, 0.0, tracker)
        progress.note()
        noted = {name: value.clone() for name, value in agent.state_dict().items()}
        with torch.no_grad():
            for parameter in agent.parameters():
                parameter.add_(1.0)
        gone_on = {name: value.clone() for name, value in agent.state_dict().items()}
        progress.save()
        assert all(value.equal(noted[name]) for name, value in weights(tmp_path).items())
        assert all(value.equal(gone_on[name]) for name, value in agent.state_dict().items())

        def full(*_args, **_settings):
            raise OSError("no space left")

        monkeypatch.setattr("pad.training.progress.save_checkpoint", full)
        with pytest.raises(OSError, match="no space left"):
            progress.save()
        assert all(value.equal(gone_on[name]) for name, value in agent.state_dict().items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SACConfig(target_entropy=float("nan")), "target_entropy must be a finite number, got nan"),
        (lambda: SACConfig(learning_rate=float("inf")), "learning_rate must be a finite number"),
        (lambda: CloneConfig(action_noise=float("inf")), "action_noise must be a finite number"),
        (lambda: CloneConfig(regret_weight=float("inf")), "regret_weight must be a finite number"),
        (lambda: TrainingConfig(save_seconds=float("nan")), "save_seconds must be a finite number"),
        (lambda: TrainingConfig(save_seconds=-1.0), "save_seconds must be at least 0"),
        (lambda: ExpertConfig(decay_start=0.4), "decay_start says when something begins to fall"),
        (lambda: CloneConfig(augmented_share=0.7), "augmented_share is a share of what is seen under augmentations"),
    ],
)
def test_numbers_that_are_none_or_are_never_read_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_signals_are_given_back_after_training(tmp_path):
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    run_training(tmp_path, SAC_TINY)
    assert signal.getsignal(signal.SIGINT) is before


def test_no_checkpoint_pretends_to_hold_an_agent_while_the_expert_learns(tmp_path):
    with pytest.raises(Interrupted):
        run_training(tmp_path, CLONE_TINY, stop_after=2)
    with pytest.raises(FileNotFoundError, match="still training the expert"):
        load_checkpoint(tmp_path)


def test_the_cloned_agent_has_no_critic_and_the_other_has(tmp_path):
    run_training(tmp_path / "clone", CLONE_TINY)
    run_training(tmp_path / "sac", SAC_TINY)
    assert load_checkpoint(tmp_path / "clone").agent.critic is None
    assert load_checkpoint(tmp_path / "sac").agent.critic is not None


def mean_return(agent) -> float:
    env = make_gradient_env()
    return float(np.mean([run_episode(env, FrozenPolicy(agent), seed).episode_return for seed in range(20)]))


def test_the_death_of_the_simulator_is_told():
    stepper = make_stepper(make_gradient_env, "pixels", own_process=True)
    stepper.reset(0)
    for process in stepper._envs.processes:
        process.kill()
        process.join()
    with pytest.raises(ChildProcessError, match="the process that simulates died"):
        stepper.reset(1)
    stepper.close()


def test_a_recording_that_is_over_just_when_nobody_waits_for_it_any_more_is_taken():
    class JustNow(Future):
        def result(self, timeout=None):
            if not self.done():
                self.set_result(trajectory)
                raise TimeoutError
            return super().result(timeout)

    trajectory = Trajectory(True, np.zeros((9, 24, 24), np.uint8))
    assert Pending(JustNow()).result(lambda: None) is trajectory


def test_an_environment_that_times_out_while_it_is_recorded_ends_the_training():
    future, polls = Future(), []
    future.set_exception(TimeoutError("the robot does not answer"))

    def poll() -> None:
        polls.append(1)
        assert len(polls) < 5

    with pytest.raises(TimeoutError, match="the robot does not answer"):
        Pending(future).result(poll)


def test_a_critic_on_state_needs_an_environment_that_tells_it(tmp_path):
    class Silent(gym.Wrapper):
        def reset(self, **settings):
            return self.env.reset(**settings)[0], {}

    with pytest.raises(ValueError, match=r"tells its state in info\['state'\]; this one does not"):
        make_phases(make_agent(critic=False), lambda kind: Silent(make_gradient_env(kind)), STATE_TINY, 0, tmp_path)


@pytest.mark.parametrize("change", [{"augmentations": ("color_jitter",)}, {"critic": "state"}])
def test_what_is_of_one_recipe_is_refused_with_the_other(change):
    with pytest.raises(ValueError, match=r"augmentations and critic are of recipe sac"):
        dataclasses.replace(CLONE_TINY, **change)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (CLONE_TINY, {"steps": 100}),
        (CLONE_TINY, {"sac": SACConfig(discount=0.9)}),
        (SAC_TINY, {"clone": CloneConfig(updates=5)}),
        (SAC_TINY, {"expert": ExpertConfig(steps=2_000)}),
    ],
)
def test_settings_that_a_recipe_never_reads_are_refused(config, change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} is not of recipe {config.recipe}, which reads "):
        dataclasses.replace(config, **change)


def test_who_only_acts_at_random_learns_nothing_and_is_refused():
    with pytest.raises(ValueError, match=r"fewer than steps \(500\), or nothing is learned; got 1000"):
        TrainingConfig(steps=500, random_steps=1000)
    with pytest.raises(ValueError, match=r"fewer than its steps \(200\), or it learns nothing; got 1000"):
        ExpertConfig(steps=200)


def test_pictures_without_an_overlay_are_refused(tmp_path):
    with pytest.raises(ValueError, match="overlay_pictures goes with random_overlay and random_background; .* none"):
        dataclasses.replace(CLONE_TINY, overlay_pictures=tmp_path)


def test_a_state_that_is_not_told_at_every_step_is_an_error(tmp_path):
    class Forgetful(gym.Wrapper):
        def step(self, action):
            return (*self.env.step(action)[:4], {})

    config = dataclasses.replace(STATE_TINY, recording="inline")
    (phase,) = make_phases(make_agent(critic=False), lambda k: Forgetful(make_gradient_env(k)), config, 0, tmp_path)
    with pytest.raises(ValueError, match="at reset, but not at every step"):
        phase.run_episode(lambda _: None)


def test_a_clone_is_overlaid_with_pictures_from_a_folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    iio.imwrite(tmp_path / "pictures" / "a.png", np.full((9, 7, 3), 200, np.uint8))
    clone = dataclasses.replace(CLONE_TINY.clone, augmentations=("random_overlay",))
    config = dataclasses.replace(CLONE_TINY, clone=clone, overlay_pictures=tmp_path / "pictures")
    run_training(tmp_path / "run", config)
    with pytest.raises(FileNotFoundError, match="no pictures"):
        run_training(tmp_path / "other", dataclasses.replace(config, overlay_pictures=tmp_path / "run"))


BACKGROUND = dataclasses.replace(
    CLONE_TINY,
    clone=dataclasses.replace(CLONE_TINY.clone, augmentations=("random_background", "random_convolution")),
)
DISGUISED = dataclasses.replace(
    BACKGROUND, clone=dataclasses.replace(BACKGROUND.clone, student_share=1.0, disguised_share=0.7)
)


@pytest.mark.slow
def test_a_clone_sees_random_backgrounds_wherever_it_was_recorded_or_interrupted(tmp_path):
    config = dataclasses.replace(DISGUISED, recording="process")
    run_training(tmp_path / "inline", DISGUISED, make_env=make_layered_env)
    run_training(tmp_path / "process", config, make_env=make_layered_env)
    with pytest.raises(Interrupted):
        run_training(tmp_path / "broken", DISGUISED, stop_after=7, make_env=make_layered_env)
    run_training(tmp_path / "broken", DISGUISED, resume=True, make_env=make_layered_env)
    openly = dataclasses.replace(DISGUISED, clone=dataclasses.replace(DISGUISED.clone, disguised_share=0.0))
    run_training(tmp_path / "plain", openly, make_env=make_layered_env)
    assert any(not value.equal(weights(tmp_path / "plain")[key]) for key, value in weights(tmp_path / "inline").items())
    expected = weights(tmp_path / "inline")
    for name in ("process", "broken"):
        found = weights(tmp_path / name)
        assert all(value.equal(found[key]) for key, value in expected.items())


def test_random_backgrounds_need_an_environment_that_tells_layers_and_a_clone(tmp_path):
    with pytest.raises(ValueError, match=r"needs an environment that has a method layers\(\); this one has none"):
        make_phases(make_agent(critic=False), make_gradient_env, BACKGROUND, 0, tmp_path)
    with pytest.raises(ValueError, match="random_background goes with recipe clone alone"):
        dataclasses.replace(SAC_TINY, augmentations=("random_background",))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"weak_augmentation": "random_shift"},
        *({"augmentations": (name,)} for name in STRONG),
        {"critic": "state"},
        {"critic": "state", "augmentations": STRONG, "weak_augmentation": "random_shift"},
    ],
    ids=str,
)
def test_soft_actor_critic_from_pixels_learns(tmp_path, change):
    config = dataclasses.replace(
        SAC_TINY, steps=2_500, random_steps=200, batch_size=32, save_seconds=60.0, sac=SACConfig(discount=0.9), **change
    )
    before = mean_return(make_agent())
    after = mean_return(run_training(tmp_path, config))
    assert after > before + 1.5
    assert after > 8


@pytest.mark.slow
def test_cloning_an_expert_learns(tmp_path):
    config = TrainingConfig(
        recipe="clone",
        expert=ExpertConfig(steps=1_500, random_steps=200, batch_size=64, hidden=32),
        clone=CloneConfig(episodes=60, expert_episodes=10, updates=1_000, batch_size=32),
        recording="inline",
        evaluations=4,
    )
    before = mean_return(make_agent(config=SMALL, critic=False))
    after = mean_return(run_training(tmp_path, config))
    assert after > before + 1.5
    assert after > 8


def wide_pictures(agent, count: int) -> Batch:
    """Transitions between pictures that are larger than the windows they are seen through."""
    size = agent.config.encoder.crop_size + 12
    images = torch.randint(256, (count, agent.obs_shape[0], size, size), dtype=torch.uint8)
    return Batch(images, torch.zeros(count, 1), torch.zeros(count), torch.zeros(count, dtype=torch.bool), images)


def test_the_centered_share_of_a_batch_is_seen_through_the_middle_window_and_the_others_through_random_ones():
    agent = make_agent(critic=False)
    batch = wide_pictures(agent, 400)
    seen = weakly_augmented_batch(batch, agent, "random_crop", centered_share=0.75)
    middle = center_crop(batch.obs, agent.config.encoder.crop_size)
    before, after = ((view == middle).flatten(1).all(1) for view in (seen.obs, seen.next_obs))
    assert (before & after).sum() == pytest.approx(300, abs=40)
    assert (before != after).sum() < 10  # both of a transition; of random windows few are the middle one


def test_without_a_centered_share_the_same_windows_are_drawn_as_ever():
    agent = make_agent(critic=False)
    size, batch = agent.config.encoder.crop_size, wide_pictures(agent, 4)
    torch.manual_seed(0)
    seen = weakly_augmented_batch(batch, agent, "random_crop")
    torch.manual_seed(0)
    assert seen.obs.equal(random_crop(batch.obs, size))
    assert seen.next_obs.equal(random_crop(batch.next_obs, size))


def test_a_clone_learns_from_as_many_middle_windows_as_its_settings_say(tmp_path, monkeypatch):
    shares = []

    def spy(batch, agent, kind, centered_share=0.0):
        shares.append(centered_share)
        return weakly_augmented_batch(batch, agent, kind, centered_share)

    monkeypatch.setattr("pad.training.clone_phase.weakly_augmented_batch", spy)
    config = dataclasses.replace(CLONE_TINY, clone=dataclasses.replace(CLONE_TINY.clone, centered_share=0.6))
    _, clone = make_phases(make_agent(critic=False), make_gradient_env, config, 0, tmp_path)
    while not shares:
        clone.run_episode(lambda _: None)
    clone.close()
    assert set(shares) == {0.6}


class Wider(gym.ActionWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def action(self, action):
        return action / 2


class Stateless(gym.Wrapper):
    def reset(self, **kwargs):
        obs, info = super().reset(**kwargs)
        return obs, {name: value for name, value in info.items() if name != "state"}


@pytest.mark.parametrize(
    ("config", "wrapper", "message"),
    [
        (SAC_TINY, Wider, r"span -1 to 1, .*Box\(-2.*RescaleAction"),
        (CLONE_TINY, Wider, r"span -1 to 1, .*Box\(-2.*RescaleAction"),
        (CLONE_TINY, Stateless, "recipe clone needs an environment that tells its state"),
    ],
)
def test_an_environment_that_a_recipe_cannot_use_is_refused_before_anything_is_learned(
    agent, tmp_path, config, wrapper, message
):
    with pytest.raises(ValueError, match=message):
        make_phases(agent, lambda observation: wrapper(make_gradient_env(observation)), config, 0, tmp_path)


def test_an_expert_takes_states_of_twice_the_digits():
    from pad.expert import Expert

    assert Expert(3, 2, 8).act(np.zeros(3, np.float64)).dtype == np.float32
