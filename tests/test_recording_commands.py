"""From a policy of one's own to one that adapts, by commands."""

import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from conftest import SMALL, make_agent
from test_commands import ROOT, call, run

from pad.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pad.deployment import AdaptivePolicy
from pad.deployment.head_folder import load_head
from pad.deployment.recordings import load_episodes

MINE = """
import os

import gymnasium as gym
import numpy as np
import torch

from envs.gradient import make_gradient_env
from pad.deployment import Camera
from pad.deployment.torch_policy import TorchPolicy


class Plain:
    def act(self, obs):
        return np.zeros(2, np.float32)


def make_plain():
    return Plain()


def make_policy():
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Conv2d(9, 4, 5, 3), torch.nn.ReLU(), torch.nn.Flatten())
    head = torch.nn.Linear(4 * 7 * 7, 2)
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    return TorchPolicy(encoder, lambda features, _: head(features)[0].numpy(), Camera((9, 24, 24)), space)


def make_env():
    return make_gradient_env()


def at_dusk():
    return make_gradient_env(tint=(0.4, 0.3, 0.6))


def make_blind():
    env = make_gradient_env()
    env.unwrapped.render = lambda: None
    return env


def make_large():
    return make_gradient_env(size=32)


def make_dark():
    env = make_gradient_env()
    env.unwrapped.render = lambda: np.zeros((24, 24, 3), np.float32)
    return env


def make_raw():
    raise OSError("no camera at this port")


def make_old():
    return type("Old", (), {"reset": lambda self: None, "step": lambda self, action: None})()


def make_wide():
    return gym.wrappers.RescaleAction(make_gradient_env(), np.float32(-3), np.float32(3))


class Failing(gym.Wrapper):
    after = 15

    def step(self, action):
        self.after -= 1
        if self.after < 0:
            raise ValueError("motor 3 is hot")
        return super().step(action)

    def close(self):
        closed.append(self)


closed = []


def make_failing():
    return Failing(make_gradient_env())


def make_killed():
    env, calls = make_gradient_env(), []
    step = env.unwrapped.step
    env.unwrapped.step = lambda a: calls.append(a) or (len(calls) > 15 and os.kill(os.getpid(), 9)) or step(a)
    return env


def make_scaled():
    return gym.wrappers.TransformReward(make_gradient_env(), lambda reward: reward / 1000)


class Undetermined(gym.Wrapper):
    def reset(self, *, seed=None, options=None):
        return super().reset()


def make_undetermined():
    return Undetermined(make_gradient_env())


class InPlace(gym.ObservationWrapper):  # fills one array again and again
    array = None

    def observation(self, obs):
        self.array = obs if self.array is None else self.array
        self.array[...] = obs
        return self.array


def make_in_place():
    return InPlace(make_gradient_env())


class Drifting(gym.Wrapper):
    def reset(self, **settings):
        self.steps = 0
        return super().reset(**settings)

    def step(self, action):
        obs, reward, *rest = super().step(action)
        self.steps += 1
        return (obs, reward + (self.steps > 3) * np.random.uniform(), *rest)


def make_drifting():
    return Drifting(make_gradient_env())


class Broken:
    def act(self, obs):
        raise KeyError("gripper")


def make_broken():
    return Broken()


def make_nothing():
    return 3


def make_in_place_undetermined():
    return InPlace(make_undetermined())


class Stuck(gym.Wrapper):
    def close(self):
        raise RuntimeError("the gripper does not open")


def make_stuck():
    return Stuck(make_gradient_env())


class Four(gym.Wrapper):
    def step(self, action):
        return super().step(action)[:4]


def make_four():
    return Four(make_gradient_env())


def make_choking():
    policy, calls = make_policy(), []
    act = policy._act

    def choke(features, rest):
        calls.append(1)
        if len(calls) > 15:
            raise KeyError("gripper")
        return act(features, rest)

    policy._act = choke
    return policy


def make_narrow():
    encoder = torch.nn.Sequential(torch.nn.Conv2d(9, 4, 5, 3), torch.nn.ReLU(), torch.nn.Flatten())
    head, space = torch.nn.Linear(7, 2), gym.spaces.Box(-1, 1, (2,), np.float32)
    return TorchPolicy(encoder, lambda features, _: head(features)[0].numpy(), Camera((9, 24, 24)), space)


def make_sampling():
    policy = make_policy()
    policy._act = lambda features, rest: np.random.uniform(-1, 1, 2).astype(np.float32)
    return policy


def make_unseeded():
    torch.seed()
    encoder = torch.nn.Sequential(torch.nn.Conv2d(9, 4, 5, 3), torch.nn.ReLU(), torch.nn.Flatten())
    head = torch.nn.Linear(4 * 7 * 7, 2)
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    return TorchPolicy(encoder, lambda features, _: head(features)[0].numpy(), Camera((9, 24, 24)), space)


number = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a module of the user's own, and an agent that was trained without a head."""
    here = tmp_path_factory.mktemp("mine")
    (here / "my_robot.py").write_text(MINE)
    headless = make_agent(config=dataclasses.replace(SMALL, self_supervised=False))
    save_checkpoint(here / "headless", Checkpoint(headless, {}, {"by": "me"}))
    result = call("record.py --policy my_robot:make_policy --env my_robot:make_env --episodes 4 --output seen", here)
    assert result.returncode == 0, result.stderr
    yield here
    sys.modules.pop("my_robot", None)


def test_a_policy_of_ones_own_is_recorded_fitted_loaded_and_adapts(folder):
    assert len(load_episodes(folder / "seen")) == 4
    result = call("fit_head.py --policy my_robot:make_policy --episodes seen --output head --updates 5", folder)
    assert result.returncode == 0, result.stderr
    assert "always inferring the mean action" in result.stdout
    assert "AdaptivePolicy(load_head(Path('head'), make_policy()))" in result.stdout
    adapting = AdaptivePolicy(load_head(folder / "head", importlib.import_module("my_robot").make_policy()))
    adapting.observe(*next(load_episodes(folder / "seen")[0].transitions()))


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("record.py --env my_robot:make_env", "error: the policy failed: "),
        ("fit_head.py --episodes seen", "error: my_robot:make_narrow failed while its head was fitted: "),
    ],
)
def test_a_network_that_does_not_fit_is_told_with_the_line_of_its_own(folder, command, told):
    result = call(f"{command} --policy my_robot:make_narrow --output narrow", folder)
    assert result.returncode == 2
    assert told in result.stderr.splitlines()[-1]
    assert "shapes cannot be multiplied" in result.stderr.splitlines()[-1]


def test_the_gate_of_a_policy_of_ones_own_is_looked_at_before_it_adapts(folder):
    fitted = call("fit_head.py --policy my_robot:make_policy --episodes seen --output watched --updates 5", folder)
    assert fitted.returncode == 0, fitted.stderr
    command = "gate.py --policy my_robot:make_policy --head watched --env my_robot:make_env my_robot:at_dusk"
    result = call(f"{command} --episodes 2 --output gates.json", folder)
    assert result.returncode == 0, result.stderr
    rows = json.loads((folder / "gates.json").read_text())["gates"]
    assert [row["scene"] for row in rows] == ["my_robot:make_env", "my_robot:at_dusk"]
    home, dusk = (row["parts"]["colors"]["median"] for row in rows)
    assert dusk > 10 * home


def test_a_policy_of_ones_own_is_evaluated_in_environments_of_ones_own(folder):
    fitted = call("fit_head.py --policy my_robot:make_policy --episodes seen --output evaluated --updates 5", folder)
    assert fitted.returncode == 0, fitted.stderr
    command = "eval.py --policy my_robot:make_policy --head evaluated --env my_robot:make_env my_robot:at_dusk --adapt"
    options = "--null --gate-features 1e-6 --episodes 2 --workers 1 --output own.json --figure own.png --video films"
    result = call(f"{command} {options} --wandb disabled", folder)
    assert result.returncode == 0, result.stderr
    assert "adaptation moves color.0.matrix, color.0.offset" in result.stderr
    assert result.stdout.startswith("environment ")
    record = json.loads((folder / "own.json").read_text())
    assert list(record["shifts"]) == ["my_robot:make_env", "my_robot:at_dusk"]
    dusk = record["shifts"]["my_robot:at_dusk"]
    assert dusk["frozen"]["seeds"] == dusk["adapted"]["seeds"] == dusk["null"]["seeds"]
    assert dusk["frozen"]["returns"] != record["shifts"]["my_robot:make_env"]["frozen"]["returns"]
    assert sum(dusk["adapted"]["updates"]) > 0
    assert record["settings"]["policy"] == "my_robot:make_policy"
    assert record["agent"]["cameras"][0]["shape"] == [9, 24, 24]
    assert (folder / "own.png").stat().st_size > 1000
    assert len(list((folder / "films").glob("*.mp4"))) == 2


@pytest.mark.slow
def test_processes_of_their_own_find_a_policy_of_ones_own(folder):
    (folder / "my_lab.py").write_text(
        "import gymnasium\nfrom my_robot import make_env, make_policy\n"
        "gymnasium.register('Lab-v0', entry_point=lambda **_: make_env())\n"
    )
    command = "eval.py --policy my_lab:make_policy --env Lab-v0 --episodes 3 --wandb disabled"
    returns = []
    for workers in (1, 2):
        result = run(f"{command} --workers {workers} --output side{workers}.json", folder)
        assert result.returncode == 0, result.stderr
        returns.append(json.loads((folder / f"side{workers}.json").read_text())["frozen"]["returns"])
    assert returns[0] == returns[1]


def test_what_fails_late_is_told_by_its_place_and_what_was_over_is_kept_and_closed(folder):
    command = "eval.py --policy my_robot:make_policy --env my_robot:make_env my_robot:make_failing --episodes 2"
    result = call(f"{command} --workers 1 --output late.json --wandb disabled", folder)
    assert result.returncode == 2
    assert "ValueError: motor 3 is hot" in result.stderr  # with the lines that led there
    line = result.stderr.strip().splitlines()[-1]
    assert re.match(r"error: my_robot:make_failing failed in the episode of seed \d+, step 6: ValueError", line)
    assert not (folder / "late.json").exists()
    record = json.loads((folder / "late.partial.json").read_text())
    assert record["interrupted"]
    assert {name: len(cell["frozen"]["returns"]) for name, cell in record["shifts"].items()} == {
        "my_robot:make_env": 2, "my_robot:make_failing": 1,
    }  # fmt: skip
    assert len(importlib.import_module("my_robot").closed) == 2  # the trial's and the evaluation's


def test_settings_are_screened_on_a_policy_of_ones_own(folder):
    fitted = call("fit_head.py --policy my_robot:make_policy --episodes seen --output screened --updates 5", folder)
    assert fitted.returncode == 0, fitted.stderr
    (folder / "candidates").mkdir()
    (folder / "candidates" / "open.yaml").write_text("guards: {gate: null, gate_features: null, gate_colors: null}")
    command = "screen.py --policy my_robot:make_policy --head screened --env my_robot:make_env my_robot:at_dusk"
    result = call(f"{command} --candidates candidates --no-paper --episodes 2 --workers 1 --output s.json", folder)
    assert result.returncode == 0, result.stderr
    rows = json.loads((folder / "s.json").read_text())["rows"]
    assert [(row["checkpoint"], row["shift"], row["candidate"]) for row in rows] == [
        ("my_robot:make_policy", "my_robot:make_env", "open"),
        ("my_robot:make_policy", "my_robot:at_dusk", "open"),
    ]


@pytest.mark.slow
def test_a_process_that_dies_with_its_episode_is_told_in_one_line(folder):
    command = "eval.py --policy my_robot:make_policy --env my_robot:make_killed --workers 2 --wandb disabled"
    result = run(command, folder)
    assert result.returncode == 2
    assert "error: a process that runs episodes died" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_what_fails_in_a_process_of_its_own_is_told_and_what_was_over_is_kept(folder):
    (folder / "cli.py").write_text("raise RuntimeError('this is no module of the package')")
    command = "eval.py --policy my_robot:make_policy --env my_robot:make_env my_robot:make_failing --episodes 3"
    result = run(f"{command} --workers 2 --output two.json --wandb disabled", folder)
    (folder / "cli.py").unlink()
    assert result.returncode == 2
    assert "motor 3 is hot" in result.stderr
    assert 'raise ValueError("motor 3 is hot")' in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: my_robot:make_failing failed in the episode of")
    record = json.loads((folder / "two.partial.json").read_text())
    assert len(record["shifts"]["my_robot:make_env"]["frozen"]["returns"]) == 3


def test_a_policy_that_fails_is_told_by_the_episode_and_a_screening_keeps_what_was_over(folder):
    command = "eval.py --policy my_robot:make_choking --env my_robot:make_env --episodes 3 --workers 1 --wandb disabled"
    result = call(command, folder)
    assert result.returncode == 2
    line = result.stderr.strip().splitlines()[-1]
    assert re.match(r"error: my_robot:make_choking in my_robot:make_env, episode 1 of seed \d+: KeyError", line)
    assert call("fit_head.py --policy my_robot:make_policy --episodes seen --output kept --updates 5", folder)
    (folder / "one").mkdir()
    (folder / "one" / "color.yaml").write_text("guards: {gate: null, gate_features: null, gate_colors: null}")
    command = "screen.py --policy my_robot:make_policy --head kept --env my_robot:make_env my_robot:make_failing"
    result = call(f"{command} --candidates one --no-paper --episodes 2 --workers 1 --output kept.json", folder)
    assert result.returncode == 2
    assert "motor 3 is hot" in result.stderr
    assert {row["shift"] for row in json.loads((folder / "kept.partial.json").read_text())["rows"]} == {
        "my_robot:make_env"
    }


@pytest.mark.parametrize("env", ["make_in_place", "make_stuck"])
def test_an_environment_that_fills_one_array_or_fails_to_close_is_evaluated(folder, env):
    command = f"eval.py --policy my_robot:make_policy --env my_robot:{env} --episodes 2 --workers 1"
    result = call(f"{command} --output {env}.json --wandb disabled", folder)
    assert result.returncode == 0, result.stderr
    assert (folder / f"{env}.json").exists()
    assert ("failed in close()" in result.stderr) == (env == "make_stuck")


def test_small_returns_are_shown_with_digits(folder):
    command = (
        "eval.py --policy my_robot:make_policy --env my_robot:make_scaled my_robot:make_env --episodes 2 --workers 1"
    )
    result = call(f"{command} --wandb disabled", folder)
    assert result.returncode == 0, result.stderr
    assert re.search(r"make_scaled +0\.00\d+ \[", result.stdout)
    assert re.search(r"make_env +\d\.\d\d \[", result.stdout)


@pytest.mark.parametrize("env", ["make_undetermined", "make_in_place_undetermined", "make_drifting"])
def test_an_environment_that_no_seed_determines_is_told(folder, env):
    command = f"eval.py --policy my_robot:make_policy --env my_robot:{env} --episodes 1 --workers 1"
    result = call(f"{command} --wandb disabled", folder)
    assert result.returncode == 0, result.stderr
    assert f"my_robot:{env}: the same seed brings another episode" in result.stderr


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("--policy my_robot:make_policy --env my_robot:make_wide", "takes actions of Box(-3.0, 3.0"),
        ("--policy my_robot:make_broken --env my_robot:make_env", "the policy failed: KeyError('gripper')"),
        ("--policy my_robot:make_nothing --env my_robot:make_env", "must return what has act(obs), got int"),
    ],
)
def test_a_policy_that_cannot_be_recorded_there_is_told_in_a_line(folder, named, message):
    result = call(f"record.py {named} --episodes 1 --output unrecorded", folder)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert not list(folder.glob("unrecorded/*.npz"))


@pytest.mark.slow
def test_a_module_of_an_environment_may_register_another(folder):
    (folder / "my_yard.py").write_text(
        "import gymnasium\nfrom my_robot import at_dusk, make_env\n"
        "gymnasium.register('Yard-v0', entry_point=lambda **_: make_env())\n"
    )
    command = "eval.py --checkpoint headless --env Yard-v0 my_yard:at_dusk --episodes 1 --workers 2 --wandb disabled"
    result = run(command, folder)
    assert result.returncode == 0, result.stderr


def test_an_agent_of_this_package_meets_an_environment_of_ones_own(folder):
    result = call("eval.py --checkpoint headless --env my_robot:at_dusk --episodes 1 --workers 1", folder)
    assert result.returncode == 0, result.stderr
    assert "my_robot:at_dusk" in result.stdout


def test_an_evaluation_in_environments_of_ones_own_is_none_of_the_tables(folder):
    command = "eval.py --checkpoint headless --env my_robot:at_dusk --episodes 1 --workers 1 --output mine.json"
    assert call(command, folder).returncode == 0
    result = call("results.py mine.json", folder)
    assert result.returncode == 2
    assert "mine.json is of environments that are not this package's" in result.stderr


def test_an_agent_without_a_head_is_recorded_and_becomes_a_checkpoint_that_adapts(folder):
    recorded = call(
        "record.py --checkpoint headless --env my_robot:make_env --episodes 3 --noise 1 --output by_agent", folder
    )
    assert recorded.returncode == 0, recorded.stderr
    assert "fit_head.py --checkpoint headless --episodes by_agent" in recorded.stderr
    result = call("fit_head.py --checkpoint headless --episodes by_agent --output headed --updates 5", folder)
    assert result.returncode == 0, result.stderr
    assert "AdaptivePolicy.from_checkpoint('headed')" in result.stdout
    loaded = load_checkpoint(folder / "headed")
    assert loaded.about == {"by": "me", "head": "fitted to 3 recorded episodes of headless"}
    AdaptivePolicy(loaded.agent)


def test_anything_that_acts_can_be_recorded(folder):
    result = call(
        "record.py --policy my_robot:make_plain --env my_robot:make_env --episodes 1 --noise 0 --output plain", folder
    )
    assert result.returncode == 0, result.stderr
    assert not any(action.any() for action in load_episodes(folder / "plain")[0].actions)


@pytest.mark.parametrize("env", ["Mine-v0", "my_arm:Mine-v0"])
def test_the_module_of_the_policy_may_register_the_environment(folder, env):
    (folder / "my_arm.py").write_text(
        "import gymnasium\nfrom my_robot import make_env, make_plain\n"
        "gymnasium.register('Mine-v0', entry_point=lambda **_: make_env())\n"
    )
    try:
        result = call(
            f"record.py --policy my_arm:make_plain --env {env} --episodes 1 --output {env.count(':')}", folder
        )
        assert result.returncode == 0, result.stderr
    finally:
        sys.modules.pop("my_arm", None)
        gym.registry.pop("Mine-v0", None)


def test_how_long_a_robot_waits_is_measured_for_a_policy_of_ones_own(folder):
    fitted = call("fit_head.py --policy my_robot:make_policy --episodes seen --output waited --updates 5", folder)
    assert fitted.returncode == 0, fitted.stderr
    command = "latency.py --policy my_robot:make_policy --head waited --env my_robot:make_in_place"
    result = call(f"{command} --pairs 1 --ticks 20 --rate 500 --policies frozen inline --output wait.json", folder)
    assert result.returncode == 0, result.stderr
    record = json.loads((folder / "wait.json").read_text())
    assert record["settings"]["policy"] == "my_robot:make_policy"
    assert record["settings"]["checkpoint"] is record["settings"]["shift"] is None
    frozen, inline = record["blocks"][0]
    assert frozen["updates_per_second"] == 0 < inline["updates_per_second"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("latency.py --policy my_robot:make_policy", "a policy needs an env"),
        ("latency.py --policy my_robot:make_policy --env my_robot:make_env", "name by --head what"),
        ("latency.py --policy my_robot:make_policy --env my_robot:make_env --device cuda", "--policy names yours"),
        ("latency.py --checkpoint headless --env my_robot:make_env --shift none", "--env names yours"),
        ("latency.py --checkpoint headless --adaptation best", "unknown adaptation 'best'; known: default"),
        ("record.py --output x", "name either a checkpoint or a policy"),
        ("record.py --output x --policy my_robot:make_policy", "a policy needs an env"),
        ("record.py --output x --policy my_robot --env my_robot:make_env", "name a function as module:function"),
        ("record.py --output x --policy my_robot:nothing --env my_robot:make_env", "cannot load 'my_robot:nothing'"),
        ("record.py --output x --policy my_robot:number --env my_robot:make_env", "is no function but int"),
        ("record.py --output x --policy nothing:at_all --env my_robot:make_env", "cannot load 'nothing:at_all'"),
        ("record.py --output x --policy my_robot:make_policy --env Nothing-v0", "cannot make the environment"),
        ("record.py --output x --checkpoint headless", "does not say which environment"),
        ("record.py --output seen --policy my_robot:make_policy --env my_robot:make_env", "holds recorded episodes"),
        ("record.py --output x --policy my_robot:make_policy --env my_robot:make_env --noise 2", "noise from 0 to 1"),
        ("fit_head.py --output x --episodes seen", "name either a checkpoint or a policy"),
        ("fit_head.py --output x --episodes nowhere --policy my_robot:make_policy", "no recorded episodes"),
        ("fit_head.py --output seen --episodes seen --policy my_robot:make_policy", "seen is there already"),
        ("fit_head.py --output x --episodes seen --policy my_robot:make_plain", "must return a TorchPolicy, got Plain"),
        ("fit_head.py --output x --episodes seen --checkpoint walker_walk", "has a self-supervised head"),
        ("eval.py --policy my_robot:make_policy", "a policy needs an env or several"),
        ("eval.py --policy my_robot:make_plain --env my_robot:make_env", "must return a TorchPolicy, got Plain"),
        ("eval.py --policy my_robot:make_policy --env my_robot:number", "my_robot:number is no function but int"),
        (
            "eval.py --policy my_robot:make_policy --env my_robot:make_plain",
            "return a gymnasium environment, got Plain",
        ),
        ("eval.py --policy my_robot:make_policy --env my_robot:make_large", "cannot act in my_robot:make_large: "),
        ("eval.py --policy my_robot:make_policy --env my_robot:make_old", "pad.old_gym.from_old_gym takes one of the"),
        ("eval.py --policy my_robot:make_policy --env my_robot:make_wide", "takes actions of Box(-3.0, 3.0"),
        ("eval.py --policy my_robot:make_unseeded --env my_robot:make_env", "returns another policy each time"),
        (
            "eval.py --policy episodes:make_policy --env my_robot:make_env",
            "a module of this package is called episodes",
        ),
        ("eval.py --policy my_robot:make_policy --env my_robot:make_dark --video films", "got float32 (24, 24, 3)"),
        ("screen.py --policy my_robot:make_policy --candidates .", "a policy needs an env or several"),
        ("eval.py --policy my_robot:make_sampling --env my_robot:make_env", "let act give the most likely action"),
        ("eval.py --policy my_robot:make_policy --env my_robot:make_four", "step of my_robot:make_four must return ("),
        ("screen.py --policy my_robot:make_policy --env a:b --shift none --candidates .", "--env names yours"),
        ("screen.py --policy my_robot:make_policy --env my_robot:make_env --candidates .", "name by --head what"),
        ("screen.py --policy my_robot:make_policy --env a:b --checkpoints x --candidates .", "--policy names yours"),
        ("eval.py --checkpoint headless --env Nothing-v0", "module:Id-v0 names the module that registers it"),
        (
            "eval.py --policy my_robot:make_policy --env my_robot:make_env --adapt",
            "my_robot:make_policy has no self-supervised head: name by --head",
        ),
        ("eval.py --policy my_robot:make_policy --head x --env my_robot:make_env", "no head at "),
        ("eval.py --policy my_robot:make_policy --env my_robot:make_env --shift fog", "unknown shift 'fog'"),
        ("eval.py --policy my_robot:make_policy --env my_robot:make_env --shift noise", "--env names yours"),
        ("eval.py --policy my_robot:make_policy --env a:b a:b", "each env can be named once"),
        (
            "eval.py --policy my_robot:make_policy --env my_robot:make_blind --video films",
            "gives no picture for a video",
        ),
        ("eval.py --checkpoint headless --policy my_robot:make_policy --env a:b", "--policy names yours"),
        ("eval.py --checkpoint headless --head x", "a head goes with --policy"),
        (
            "eval.py --checkpoint headless --env my_robot:make_large",
            "the policy sees (9, 24, 24), my_robot:make_large shows Box",
        ),
    ],
)
def test_what_a_user_gets_wrong_takes_one_line(folder, command, message):
    result = call(command, folder)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (folder / "x").exists()


def test_a_function_that_fails_shows_where(folder):
    result = call("eval.py --policy my_robot:make_policy --env my_robot:make_raw", folder)
    assert result.returncode == 2
    assert "raise OSError" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: my_robot:make_raw failed: OSError('no camera")


@pytest.mark.slow
def test_the_whole_example_of_the_documents_runs_as_it_stands(tmp_path):
    text = (ROOT / "docs" / "deploy.md").read_text()
    (module,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def make_policy" in code)
    (tmp_path / "my_robot.py").write_text(module)
    (commands,) = (
        code for code in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "REPO/scripts/record.py" in code
    )
    lines = commands.strip().splitlines()
    assert [line.split()[1] for line in lines] == [f"REPO/scripts/{name}.py" for name in ("record", "fit_head", "eval")]
    for line in lines:
        result = run(line.removeprefix("python REPO/scripts/"), tmp_path)
        assert result.returncode == 0, result.stderr
    shifts = json.loads((tmp_path / "result.json").read_text())["shifts"]
    assert list(shifts) == ["my_robot:make_env", "my_robot:at_dusk"]
