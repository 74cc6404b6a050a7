"""Files that scripts/eval.py writes with --output, read again."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli

from envs.tasks import default_action_repeat
from pad import settings
from pad.deployment import ADAPTATIONS

SETTINGS = {"checkpoint", "shift", "episodes", "seed", "adaptation"}
"""What every evaluation says of itself, among others."""
OFF = {"objectives": ["inverse_dynamics"], "every": 1}
"""Settings of the adaptation that say by these values what is so without them; others by None, False or 0."""
ARMS = ("frozen", "adapted", "null")
"""Policies that an evaluation may hold, under each shift."""


def read_evaluation(path: Path) -> dict[str, Any]:
    """An evaluation file.

    Raises:
        BadInput: when it is none, or does not hold all episodes that were asked for.
    """
    return check_evaluation(read_record(path), path)


def read_record(path: Path) -> dict[str, Any]:
    """What a command has written, whichever it was.

    Raises:
        BadInput: when it is no such file, or was not written to its end.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no evaluation file {path}")
    try:
        record = json.loads(path.read_text())
        interrupted = record.get("interrupted")
    except (ValueError, AttributeError) as error:
        raise cli.BadInput(f"{path} is not an evaluation file: {error!r}") from error
    if interrupted:
        raise cli.BadInput(f"{path} was interrupted: it does not hold all episodes that were asked for")
    return dict(record)


def check_evaluation(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """The record itself.

    Raises:
        BadInput: when it is none of scripts/eval.py, or its numbers are not whole.
    """
    try:
        missing, env, cells = SETTINGS - set(record["settings"]), record["env"], shifts_of(record)
        arms = [(shift, arm, cell[arm]["returns"]) for shift, cell in cells.items() for arm in ARMS if arm in cell]
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise cli.BadInput(f"{path} is not an evaluation file: {error!r}") from error
    if missing or not isinstance(env, dict):
        lacks = ", ".join(sorted(missing)) or "the environment"
        raise cli.BadInput(f"{path} is not an evaluation file: its settings lack {lacks}")
    for shift, arm, returns in arms:
        numbers = [value for value in returns if isinstance(value, (int, float)) and math.isfinite(value)]
        if len(numbers) != len(returns) or len(numbers) != record["settings"]["episodes"]:
            raise cli.BadInput(
                f"{path} is not whole: {shift}, {arm} has {len(numbers)} finite returns of "
                f"{record['settings']['episodes']} episodes"
            )
    return record


def shifts_of(record: dict[str, Any]) -> dict[str, Any]:
    """What a file of scripts/eval.py holds for each shift."""
    return record.get("shifts") or {(record["settings"].get("env") or record["settings"]["shift"])[0]: record}


def check_compared(record: dict[str, Any], path: Path | str) -> None:
    """Raises BadInput when an evaluation holds no adapting policy beside the frozen one."""
    if not all("comparison" in cell for cell in shifts_of(record).values()):
        raise cli.BadInput(f"{path} holds no comparison: it was written without --adapt")


def conditions(record: Mapping[str, Any]) -> dict[str, Any]:
    """What makes episodes the same, beside the shift."""
    chosen, env = record["settings"], record["env"]
    shared = {key: chosen.get(key) for key in ("seed", "episodes")}
    if chosen.get("env"):  # of the user's, about which nothing is known but the name; `env` is where training was
        return shared
    repeat = env.get("action_repeat") or default_action_repeat(env.get("task", ""))
    data = {key: chosen.get(key) for key in ("shift_data", "shift_split")}
    quality = chosen.get("quality") or env.get("quality")
    known = {"task": env.get("task"), "action_repeat": repeat, "episode_length": env.get("episode_length")}
    return {**known, "quality": quality, **data, **shared}


def is_as_named(evaluation: Mapping[str, Any]) -> bool:
    """Whether settings of an evaluation are those that their name stands for now, with no flag over them.

    What only one version of this package knows must be off in the other's.
    """
    known, adapter = ADAPTATIONS.get(evaluation["adaptation"]), evaluation.get("adapter")
    if known is None or adapter is None:
        return True
    now, then = flat_settings(settings.to_dict(known)), flat_settings(adapter)
    names = {*now, *then} - {"precision"}  # the number format is what is fastest on a machine
    return all((now.get(name, OFF.get(name)) or None) == (then.get(name, OFF.get(name)) or None) for name in names)


def flat_settings(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings as `guards.trial`."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
