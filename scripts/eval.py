"""Evaluate a trained agent, frozen or frozen against adapting on the same episodes.

python scripts/eval.py --adapt --shift color_hard
python scripts/eval.py --adapt --shift none color_hard video_easy --episodes 30 --output result.json
python scripts/eval.py --checkpoint runs/my_run --adapt --adaptation paper --video videos
python scripts/eval.py --policy my_robot:make_policy --head my_head --env my_robot:make_env my_robot:at_dusk --adapt
"""

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cli
import tyro
from episodes import Arm, default_workers, hardware, make_scene, read_adaptation, run_arms, trained_env
from eval_report import Met, arm_record, format_guards, format_table, what_is_over, write_videos
from figures import FORMATS, draw_comparison
from own import OwnPolicy, check_env, check_names, check_policy, load_modules, modules_of, own_policy

import envs
from envs.shifts import normalize
from pad import settings
from pad.agent import Agent
from pad.checkpoint import copied, load_checkpoint
from pad.deployment import AdaptationConfig, AdaptivePolicy, TorchPolicy
from pad.deployment.model import Model
from pad.deployment.state import digest
from pad.evaluation import Episode, compare
from pad.precision import resolve
from pad.statistics import mean_interval
from pad.tracking import Tracker, TrackingConfig, progress_bar, say

OURS = ("shift", "shift_data", "shift_split", "quality")
"""Settings of this package's own environments."""


@dataclass(frozen=True)
class EvalConfig:
    """Evaluate a trained agent: frozen, or with --adapt frozen and adapting on the same episodes."""

    checkpoint: str = "cartpole_swingup"
    """A run, a checkpoint folder, or the name of an agent that ships."""
    policy: str | None = None
    """Or a policy of yours: module:function, where the function returns a TorchPolicy. It meets what --env names."""
    head: Path | None = None
    """With --policy: folder of the head that scripts/fit_head.py wrote. Default: the function brings one."""
    env: tuple[str, ...] = ()
    """In place of shifts, environments of yours: module:function, where the function returns one, or Gymnasium ids,
    module:Id-v0 where the module registers it. The same seed must bring the same episode."""
    shift: tuple[str, ...] = ("none",)
    """One or several: none, color_hard, "color_hard + camera:0.4", "none@0, video_hard@50", a YAML file.
    scripts/shifts.py list names them all."""
    episodes: int = 10
    """For each shift or environment, and each policy."""
    seed: int = 0
    """Which episodes: number k of a seed is the same for every agent, arm and machine."""
    adapt: bool = False
    """Also run the adapting policy, and report its paired difference."""
    null: bool = False
    """With --adapt: also run a frozen policy whose weights are moved at random by as much as adaptation moved them, to
    tell what the same motion does without the signal."""
    adaptation: str = "default"
    """Settings of the adapting policy: default, light, unguarded, paper, or a YAML file. The flags below change single
    ones."""
    adapter: Annotated[AdaptationConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=AdaptationConfig)
    shift_data: str | None = None
    """Folder in the published benchmark's layout, or of videos. Default: our own colours and backgrounds."""
    shift_split: Literal["test", "validation"] = "test"
    """Which of our own colours and backgrounds: choose settings on validation, report on test."""
    quality: envs.Quality | None = None
    """Renderer quality. Default: what the agent was trained on."""
    workers: int = field(default_factory=default_workers)
    """Processes that run episodes side by side, each in an environment of its own; the results do not depend on it."""
    device: str = "cpu"
    """For a checkpoint."""
    output: Path | None = None
    """JSON file for settings, returns and seeds. Cut short, what is over goes into NAME.partial.json."""
    figure: Path | None = None
    """File for a picture of the comparison: png, pdf, svg, ..."""
    video: Path | None = None
    """Folder for an mp4 of the first episode of each shift or environment, the policies side by side."""
    tracking: Annotated[TrackingConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 1:
            raise ValueError(f"episodes and workers must be at least 1, got {self.episodes} and {self.workers}")
        if not self.shift:
            raise ValueError("at least one shift must be named")
        if self.null and not self.adapt:
            raise ValueError("--null goes with --adapt: it moves weights by as much as adaptation does")
        object.__setattr__(self, "shift", tuple(map(normalize, self.shift)))
        check_names(self.policy, self.head, self.env, self.shift)
        if self.env and any(getattr(self, name) != getattr(EvalConfig, name) for name in OURS):
            raise ValueError("shifts, their data and split, and quality are of our environments, and --env names yours")
        if self.policy is not None and (self.checkpoint != EvalConfig.checkpoint or self.device != "cpu"):
            raise ValueError("checkpoint and device are for an agent of this package, and --policy names yours")

    @property
    def scenes(self) -> tuple[str, ...]:
        """What the policy meets, one after the other."""
        return self.env or self.shift

    @property
    def evaluated(self) -> str:
        """The name of what is evaluated."""
        return self.policy or Path(self.checkpoint).name


@dataclass(frozen=True)
class Subject:
    """What is evaluated."""

    source: str | OwnPolicy
    """Where each process finds it."""
    policy: Agent | Model
    env: Mapping[str, Any] = field(default_factory=dict)
    """That it was trained in, as far as that is known."""

    @property
    def described(self) -> dict[str, Any]:
        """Its settings, or how a policy of the user's is declared."""
        if isinstance(self.policy, Agent):
            return settings.to_dict(self.policy.config)
        if not isinstance(self.policy, TorchPolicy):
            return {}
        weights = digest(tuple(self.policy.network.state_dict().values()))
        return {**self.policy.described, "origin": self.policy.origin, "weights": weights}


def main() -> None:
    config = read_config(sys.argv[1:])
    if config.policy is not None:
        own, policy = own_policy(config.policy, config.head, config.adapt)
        check_outputs(config)
        evaluate(config, Subject(own, policy))
        return
    load_checkpoint(config.checkpoint, cli.check_device(config.device))  # what is wrong with it is told by its name
    check_outputs(config)
    with copied(config.checkpoint) as copy:  # every episode loads it, and a run may go on meanwhile
        loaded = load_checkpoint(copy, config.device)
        evaluate(config, Subject(str(copy), loaded.agent, loaded.env))


def evaluate(config: EvalConfig, subject: Subject) -> None:
    """All that was asked for; after an interrupt or a failure, of what is over."""
    config = settled(config, subject)
    arms = make_arms(config, subject)
    if config.adapt:
        moving = AdaptivePolicy(subject.policy, config.adapter).parameter_names
        say(f"adaptation moves {', '.join(moving)}")
    name = cli.file_name(f"eval_{config.evaluated}_{'_'.join(config.scenes)}")[:100]
    described = {**recorded(config), "trained_env": dict(subject.env)}
    log = Path("runs") / "eval" / f"{name}_{time.strftime('%Y%m%d-%H%M%S')}_{os.getpid()}"
    with Tracker(log, config.tracking, name, "eval", described) as tracker:
        episodes: list[list[Episode]] = []
        try:
            run_all(arms, config.workers, tracker, episodes)
            if config.null:
                null_arms = [null_arm(arm, met) for arm, met in zip(arms, episodes, strict=True) if arm.adaptation]
                arms += null_arms
                run_all(null_arms, config.workers, tracker, episodes)
        except BaseException:
            keep(config, subject, what_is_over(arms, episodes))
            raise
        by_scene = what_is_over(arms, episodes)
        report(config, subject, by_scene, config.output)
        draw(config, subject, by_scene, tracker)


def keep(config: EvalConfig, subject: Subject, by_scene: Met) -> None:
    """Of what was cut short, the episodes that every policy has met, in a file of its own."""
    output = None if config.output is None else cli.partial(config.output)
    if by_scene:
        say(f"cut short: what is over of {' '.join(by_scene)}")
        try:
            report(config, subject, by_scene, output, whole=False)
        except OSError as error:  # what cut it short is what ends it
            say(f"{output} could not be written: {error}")
    elif config.output is not None:
        say(f"cut short: no episode was met by every policy, and {config.output} was not written")


def settled(config: EvalConfig, subject: Subject) -> EvalConfig:
    """The precision decided once: every worker computes in the same format."""
    adapter = config.adapter
    precision = resolve(adapter.precision, subject.policy.device.type)
    return dataclasses.replace(config, adapter=dataclasses.replace(adapter, precision=precision))


def read_config(arguments: list[str]) -> EvalConfig:
    """Flags over the named adaptation settings, over the defaults."""
    name, _ = cli.take_option(arguments, "adaptation")
    adapter = read_adaptation("default" if name is None else name)
    config = cli.parse(EvalConfig, arguments, EvalConfig(adapter=adapter))
    if not config.adapt and (name is not None or config.adapter != adapter):
        raise cli.BadInput("--adaptation and the flags that change its settings go with --adapt")
    return config


def recorded(config: EvalConfig) -> dict[str, Any]:
    """The settings for JSON: paths as text, and null for what was not used."""
    text = {n: None if (p := getattr(config, n)) is None else str(p) for n in ("head", "output", "figure", "video")}
    unused = (("checkpoint",) if config.policy else ()) + (OURS if config.env else ())
    described = settings.to_dict(dataclasses.replace(config, **text))  # type: ignore[arg-type]
    return {**described, **dict.fromkeys(unused)}


def check_outputs(config: EvalConfig) -> None:
    """Refuse now what could not be written after the last episode."""
    if config.video is not None and config.video.is_file():
        raise NotADirectoryError(f"{config.video} is a file; name a folder")
    if config.figure is not None and config.figure.suffix.lower() not in FORMATS:
        raise cli.BadInput(f"{config.figure} is no picture; known: {', '.join(FORMATS)}")
    cli.check_outputs(config.output, config.figure, None if config.video is None else config.video / "film.mp4")


def make_arms(config: EvalConfig, subject: Subject) -> list[Arm]:
    """Frozen, and if asked for adapting, for each scene; what cannot be evaluated is found out now."""
    arms, modules = [], modules_of((config.policy or "", *config.env))
    load_modules(modules)
    scenes: Sequence[envs.EnvConfig | str] = config.env or [make_env_config(config, subject, s) for s in config.shift]
    for scene in scenes:
        check_scene(config, subject, scene)
        for adaptation in (None, config.adapter) if config.adapt else (None,):
            record = 1 if config.video else 0
            arm = Arm(subject.source, scene, adaptation, config.seed, config.episodes, config.device, record)
            arms.append(dataclasses.replace(arm, modules=modules))
    return arms


def check_scene(config: EvalConfig, subject: Subject, scene: envs.EnvConfig | str) -> None:
    """Begin an episode, in an environment of the user's act in it too.

    Raises:
        BadInput: when the policy cannot act there, or there is nothing to film.
    """
    film = config.video is not None
    with contextlib.closing(make_scene(scene, film)) as probe:
        if isinstance(scene, str):
            obs, action = check_env(scene, probe, subject.policy, film)
            if isinstance(subject.source, OwnPolicy) and scene == config.env[0]:
                check_policy(subject.source, subject.policy, obs, action)
        elif isinstance(subject.policy, Agent) and probe.observation_space.shape != subject.policy.obs_shape:
            shape = probe.observation_space.shape
            raise cli.BadInput(f"{config.checkpoint} sees {subject.policy.obs_shape}, its environment shows {shape}")
        else:
            probe.reset(seed=0)


def make_env_config(config: EvalConfig, subject: Subject, shift: str) -> envs.EnvConfig:
    """The environment that the checkpoint was trained in, with a shift."""
    env = trained_env(config.checkpoint, subject.env)
    quality = config.quality or env.quality
    data = config.shift_data if shift != "none" else None
    return dataclasses.replace(env, shift=shift, shift_data=data, shift_split=config.shift_split, quality=quality)


def null_arm(arm: Arm, met: list[Episode]) -> Arm:
    """The same episodes for a policy that is moved at random as far as the adapting one moved itself."""
    return dataclasses.replace(arm, drifts=tuple(tuple(episode.drift) for episode in met), record=0)


def run_all(arms: list[Arm], workers: int, tracker: Tracker, done: list[list[Episode]]) -> None:
    """Episodes of each arm, logged and appended to `done` as they come."""
    first_step = sum(map(len, done))
    episodes: list[list[Episode]] = [[] for _ in arms]
    done += episodes
    with progress_bar("episodes", sum(arm.episodes for arm in arms), 0, "episodes") as bar:
        for step, (index, episode) in enumerate(run_arms(arms, workers), first_step):
            arm = arms[index]
            episodes[index].append(episode)
            label = f"{arm.scene}/{arm.name}"
            tracker.log({f"{label}_return": episode.episode_return, "episode": len(episodes[index])}, step)
            bar.set_postfix_str(f"{label} {episode.episode_return:.4g}")
            bar.update(1)


def report(config: EvalConfig, subject: Subject, by_scene: Met, output: Path | None, whole: bool = True) -> None:
    """The file of results, if one was asked for, and the table."""
    results = {scene: {name: arm_record(met) for name, met in arms.items()} for scene, arms in by_scene.items()}
    for scene, met in by_scene.items():
        if "adapted" in met:
            results[scene]["comparison"] = dataclasses.asdict(compare(met["frozen"], met["adapted"]))
        if "null" in met:
            results[scene]["null_comparison"] = dataclasses.asdict(compare(met["frozen"], met["null"]))
    if output:
        record = {
            "settings": recorded(config),
            "env": dict(subject.env),
            "agent": subject.described,
            "hardware": hardware(str(subject.policy.device)),
            "command": cli.typed(),
            **({} if whole else {"interrupted": True}),
            **(results[config.scenes[0]] if len(config.scenes) == 1 else {"shifts": results}),
        }
        try:  # first: whoever reads the table may go away in the middle of it
            cli.write_text(output, json.dumps(record, indent=1) + "\n")
            say(f"wrote {output}")
        finally:
            show(config, by_scene)
        if whole:
            cli.partial(output).unlink(missing_ok=True)
    else:
        show(config, by_scene)


def show(config: EvalConfig, by_scene: Met) -> None:
    """The tables."""
    print(format_table(by_scene, "environment" if config.env else "shift"))
    if config.adapt:
        print(format_guards(by_scene))


def draw(config: EvalConfig, subject: Subject, by_scene: Met, tracker: Tracker) -> None:
    """The pictures that were asked for, and what the run comes to."""
    title = str(subject.env.get("task", config.evaluated))
    if config.figure:
        draw_comparison(config.figure, by_scene, f"{title}, {config.episodes} episodes", sharey=not config.env)
        say(f"wrote {config.figure}")
    if config.video:
        write_videos(config.video, by_scene, title, tracker)
    means = {
        f"{s}/{n}_mean_return": mean_interval([e.episode_return for e in m]).mean
        for s, a in by_scene.items()
        for n, m in a.items()
    }
    tracker.log(means, sum(len(met) for arms in by_scene.values() for met in arms.values()))


if __name__ == "__main__":
    cli.run(main)
