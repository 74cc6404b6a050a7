"""Evaluate a trained agent, frozen or frozen against adapting on the same episodes.

python scripts/eval.py --adapt --shift color_hard
python scripts/eval.py --adapt --shift none color_hard video_easy --episodes 30 --output result.json
python scripts/eval.py --checkpoint runs/my_run --adapt --adaptation paper --video videos
"""

import dataclasses
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cli
import numpy as np
import tyro
from episodes import Arm, default_workers, hardware, read_adaptation, run_arms, trained_env
from figures import FORMATS, draw_comparison

import envs
from envs.shifts import normalize
from pad import settings
from pad.checkpoint import Checkpoint, copied, load_checkpoint
from pad.deployment import AdaptationConfig, AdaptivePolicy
from pad.evaluation import Comparison, Episode, compare, mean_interval, steps_per_second
from pad.precision import resolve
from pad.tracking import Tracker, TrackingConfig, progress_bar, say
from pad.video import compose, write_video


@dataclass(frozen=True)
class EvalConfig:
    """Evaluate a trained agent: frozen, or with --adapt frozen and adapting on the same episodes."""

    checkpoint: str = "cartpole_swingup"
    """A run, a checkpoint folder, or the name of an agent that ships."""
    shift: tuple[str, ...] = ("none",)
    """One or several: none, color_hard, "color_hard + camera:0.4", "none@0, video_hard@50", a YAML file.
    scripts/shifts.py list names them all."""
    episodes: int = 10
    """Episodes for each shift and arm."""
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
    """Processes that run episodes side by side; the results do not depend on it."""
    device: str = "cpu"
    output: Path | None = None
    """JSON file for settings, returns and seeds."""
    figure: Path | None = None
    """PNG file for a picture of the comparison."""
    video: Path | None = None
    """Folder for an mp4 of the first episode of each shift, the arms side by side."""
    tracking: Annotated[TrackingConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 1:
            raise ValueError(f"episodes and workers must be at least 1, got {self.episodes} and {self.workers}")
        if not self.shift:
            raise ValueError("at least one shift must be named")
        if self.null and not self.adapt:
            raise ValueError("--null goes with --adapt: it moves weights by as much as adaptation does")
        object.__setattr__(self, "shift", tuple(map(normalize, self.shift)))
        if len(set(self.shift)) < len(self.shift):
            raise ValueError(f"each shift can be named once, got {' '.join(self.shift)}")


def main() -> None:
    config = read_config(sys.argv[1:])
    load_checkpoint(config.checkpoint, cli.check_device(config.device))  # what is wrong with it is told by its name
    check_outputs(config)
    with copied(config.checkpoint) as copy:  # every episode loads it, and a run may go on meanwhile
        evaluate(config, load_checkpoint(copy, config.device), copy)


def evaluate(config: EvalConfig, checkpoint: Checkpoint, folder: Path) -> None:
    """All that was asked for, of the checkpoint that lies in `folder`."""
    arms = make_arms(config, checkpoint, folder)
    if config.adapt:
        moving = AdaptivePolicy(checkpoint.agent, config.adapter).parameter_names
        say(f"adaptation moves {', '.join(moving)}")
    name = f"eval_{Path(config.checkpoint).name}_{'_'.join(map(cli.file_name, config.shift))}"[:100]
    described = {**settings.to_dict(config_for_record(config)), "env": checkpoint.env}
    log = Path("runs") / "eval" / f"{name}_{time.strftime('%Y%m%d-%H%M%S')}_{os.getpid()}"
    with Tracker(log, config.tracking, name, "eval", described) as tracker:
        episodes = run_all(arms, config.workers, tracker)
        if config.null:
            null_arms = [null_arm(arm, met) for arm, met in zip(arms, episodes, strict=True) if arm.name == "adapted"]
            episodes += run_all(null_arms, config.workers, tracker, sum(len(met) for met in episodes))
            arms += null_arms
        report(config, checkpoint, arms, episodes, tracker)


def read_config(arguments: list[str]) -> EvalConfig:
    """Flags over the named adaptation settings, over the defaults."""
    name, _ = cli.take_option(arguments, "adaptation")
    adapter = read_adaptation("default" if name is None else name)
    config = cli.parse(EvalConfig, arguments, EvalConfig(adapter=adapter))
    if not config.adapt and (name is not None or config.adapter != adapter):
        raise cli.BadInput("--adaptation and the flags that change its settings go with --adapt")
    # Settled once: every worker computes in the same format.
    adapter = dataclasses.replace(
        config.adapter, precision=resolve(config.adapter.precision, cli.check_device(config.device))
    )
    return dataclasses.replace(config, adapter=adapter)


def config_for_record(config: EvalConfig) -> EvalConfig:
    """The settings with paths as text, for JSON."""
    text = {n: None if (p := getattr(config, n)) is None else str(p) for n in ("output", "figure", "video")}
    return dataclasses.replace(config, **text)  # type: ignore[arg-type]


def check_outputs(config: EvalConfig) -> None:
    """Refuse now what could not be written after the last episode."""
    if config.video is not None and config.video.is_file():
        raise NotADirectoryError(f"{config.video} is a file; name a folder")
    if config.figure is not None and config.figure.suffix.lower() not in FORMATS:
        raise cli.BadInput(f"{config.figure} is no picture; known: {', '.join(FORMATS)}")
    cli.check_outputs(config.output, config.figure, None if config.video is None else config.video / "film.mp4")


def make_arms(config: EvalConfig, checkpoint: Checkpoint, folder: Path) -> list[Arm]:
    """Frozen, and if asked for adapting, for each shift; what cannot be evaluated is found out now."""
    arms = []
    for shift in config.shift:
        env = make_env_config(config, checkpoint, shift)
        probe = envs.make(env)
        try:
            if probe.observation_space.shape != checkpoint.agent.obs_shape:
                raise cli.BadInput(
                    f"{config.checkpoint} sees {checkpoint.agent.obs_shape}, "
                    f"its environment shows {probe.observation_space.shape}"
                )
            probe.reset(seed=0)
        finally:
            probe.close()
        for adaptation in (None, config.adapter) if config.adapt else (None,):
            record = 1 if config.video else 0
            arm = Arm(str(folder), env, adaptation, config.seed, config.episodes, config.device, record)
            arms.append(arm)
    return arms


def make_env_config(config: EvalConfig, checkpoint: Checkpoint, shift: str) -> envs.EnvConfig:
    """The environment that the checkpoint was trained in, with a shift."""
    env = trained_env(config.checkpoint, checkpoint)
    quality = config.quality or env.quality
    data = config.shift_data if shift != "none" else None
    return dataclasses.replace(env, shift=shift, shift_data=data, shift_split=config.shift_split, quality=quality)


def null_arm(arm: Arm, met: list[Episode]) -> Arm:
    """The same episodes for a policy that is moved at random as far as the adapting one moved itself."""
    return dataclasses.replace(arm, drifts=tuple(tuple(episode.drift) for episode in met), record=0)


def run_all(arms: list[Arm], workers: int, tracker: Tracker, first_step: int = 0) -> list[list[Episode]]:
    """Episodes of each arm, logged as they come."""
    episodes: list[list[Episode]] = [[] for _ in arms]
    with progress_bar("episodes", sum(arm.episodes for arm in arms), 0, "episodes") as bar:
        for step, (index, episode) in enumerate(run_arms(arms, workers), first_step):
            arm = arms[index]
            episodes[index].append(episode)
            label = f"{arm.env.shift}/{arm.name}"
            tracker.log({f"{label}_return": episode.episode_return, "episode": len(episodes[index])}, step)
            bar.set_postfix_str(f"{label} {episode.episode_return:.0f}")
            bar.update(1)
    return episodes


def report(
    config: EvalConfig, checkpoint: Checkpoint, arms: list[Arm], episodes: list[list[Episode]], tracker: Tracker
) -> None:
    """The table, and the files that were asked for."""
    by_shift: dict[str, dict[str, list[Episode]]] = {}
    for arm, met in zip(arms, episodes, strict=True):
        by_shift.setdefault(arm.env.shift, {})[arm.name] = met
    print(format_table(by_shift))
    if config.adapt:
        print(format_guards(by_shift))
    results = {shift: {name: arm_record(met) for name, met in arms.items()} for shift, arms in by_shift.items()}
    for shift, met in by_shift.items():
        if "adapted" in met:
            results[shift]["comparison"] = dataclasses.asdict(compare(met["frozen"], met["adapted"]))
        if "null" in met:
            results[shift]["null_comparison"] = dataclasses.asdict(compare(met["frozen"], met["null"]))
    if config.output:
        record = {
            "settings": settings.to_dict(config_for_record(config)),
            "env": checkpoint.env,
            "agent": settings.to_dict(checkpoint.agent.config),
            "hardware": hardware(config.device),
            "command": cli.typed(),
            **(results[config.shift[0]] if len(results) == 1 else {"shifts": results}),
        }
        cli.write_text(config.output, json.dumps(record, indent=1) + "\n")
        say(f"wrote {config.output}")
    if config.figure:
        task = str(checkpoint.env.get("task", ""))
        draw_comparison(config.figure, by_shift, f"{task}, {config.episodes} episodes")
        say(f"wrote {config.figure}")
    if config.video:
        write_videos(config.video, by_shift, str(checkpoint.env.get("task", "")), tracker)
    last = sum(arm.episodes for arm in arms)
    means = {
        f"{s}/{n}_mean_return": mean_interval([e.episode_return for e in m]).mean
        for s, a in by_shift.items()
        for n, m in a.items()
    }
    tracker.log(means, last)


def arm_record(episodes: list[Episode]) -> dict[str, Any]:
    return {
        "returns": [episode.episode_return for episode in episodes],
        "seeds": [episode.seed for episode in episodes],
        "updates": [episode.updates for episode in episodes],
        "steps_per_second": round(steps_per_second(episodes), 1),
        "guards": [dict(episode.guards) for episode in episodes],
        "mean_drift": [round(float(np.mean(episode.drift)), 5) if episode.drift else 0.0 for episode in episodes],
    }


def format_guards(by_shift: dict[str, dict[str, list[Episode]]]) -> str:
    """How often each guard acted, in an episode on average."""
    lines = []
    for shift, met in by_shift.items():
        episodes = met["adapted"]
        total = sum((episode.guards for episode in episodes), Counter[str]())
        acted = ", ".join(f"{reason} {count / len(episodes):.1f}" for reason, count in total.most_common()) or "none"
        decisions = sum(episode.steps for episode in episodes) / len(episodes)
        lines.append(f"{shift}: guards in an episode of {decisions:.0f} decisions: {acted}")
    return "\n".join(lines)


def format_table(by_shift: dict[str, dict[str, list[Episode]]]) -> str:
    """Mean returns with 95 % intervals over episodes, and control steps a second."""
    rows = [
        [
            "shift",
            "frozen",
            "adapted",
            "adapted - frozen",
            "won/lost/tied",
            "regret",
            "null regret",
            "catastrophes",
            "steps/s",
        ]
    ]
    for shift, met in by_shift.items():
        speeds = " / ".join(f"{steps_per_second(episodes):.0f}" for episodes in met.values())
        if "adapted" in met:
            c: Comparison = compare(met["frozen"], met["adapted"])
            row = [shift, str(c.frozen), str(c.adapted), c.difference.format("+")]
            null = f"{compare(met['frozen'], met['null']).regret:.0f}" if "null" in met else ""
            rows.append([*row, f"{c.won}/{c.lost}/{c.tied}", f"{c.regret:.0f}", null, c.format_catastrophes(), speeds])
        else:
            frozen = mean_interval([episode.episode_return for episode in met["frozen"]])
            rows.append([shift, str(frozen), "", "", "", "", "", "", speeds])
    used = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in used]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*used, strict=True)
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def write_videos(folder: Path, by_shift: dict[str, dict[str, list[Episode]]], task: str, tracker: Tracker) -> None:
    """One mp4 for each shift: its first episode."""
    for shift, met in by_shift.items():
        arms = {"frozen": met["frozen"][0]}
        if "adapted" in met:
            arms["adapting"] = met["adapted"][0]
        path = folder / f"{cli.file_name(shift)}.mp4"
        write_video(path, list(compose(arms, f"{task}, {shift}")), fps=20)
        tracker.log_video(f"{shift}/video", path, sum(len(e) for a in by_shift.values() for e in a.values()))
        say(f"wrote {path}")


if __name__ == "__main__":
    cli.run(main)
