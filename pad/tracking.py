"""Where metrics go: a JSON-lines file always, Weights & Biases beside it."""

import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tqdm import tqdm

from pad.settings import check_fields
from pad.types import Metrics

WandbMode = Literal["online", "offline", "disabled"]


@dataclass(frozen=True)
class TrackingConfig:
    """What is logged beside the JSON-lines file."""

    wandb: WandbMode | None = None
    """online, offline or disabled. Default: online where an API key is set up, else offline."""
    project: str = "pad"
    """Weights & Biases project."""
    group: str | None = None
    """Weights & Biases group. Default: the same for all seeds of one configuration."""

    def __post_init__(self) -> None:
        check_fields(self)


class Tracker:
    """Logs metrics under a step count; every line has left this process before the call returns.

    `position` and `truncate` let a resumed run continue the file where its checkpoint was written.
    """

    def __init__(
        self, folder: Path, config: TrackingConfig, name: str, group: str, settings: Mapping[str, Any]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "metrics.jsonl").open("a")
        self._wandb = _start_wandb(folder, config, name, config.group or group, settings)

    def log(self, metrics: Mapping[str, float | str], step: int) -> None:
        """Add one line; `step` never decreases within a run."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        self._show(lambda run: run.log(dict(metrics), step=step))

    def log_video(self, name: str, path: Path, step: int) -> None:
        """Show an mp4 file in Weights & Biases."""
        self._show(lambda run: run.log({name: _wandb().Video(str(path), format="mp4")}, step=step))

    def log_image(self, name: str, path: Path, caption: str, step: int) -> None:
        """Show a picture's file in Weights & Biases."""
        self._show(lambda run: run.log({name: _wandb().Image(str(path), caption=caption)}, step=step))

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Show a table in Weights & Biases."""
        data = [list(row) for row in rows]
        self._show(lambda run: run.log({name: _wandb().Table(columns=list(columns), data=data)}, step=step))

    def _show(self, call: Callable[[Any], object]) -> None:
        """Call what shows something in Weights & Biases, if it is on; a failure turns it off, and the run goes on."""
        if self._wandb is None:
            return
        try:
            call(self._wandb)
        except Exception as error:  # its process was killed, the disk is full
            self._wandb = None
            say(f"Weights & Biases is off: {error!r}; metrics.jsonl goes on")

    def position(self) -> int:
        """Length of the file so far."""
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def truncate(self, position: int) -> None:
        """Forget what was logged after `position`."""
        self._file.truncate(min(position, self.position()))

    def close(self) -> None:
        self._file.close()
        self._show(lambda run: run.finish())
        self._wandb = None

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wandb() -> Any:
    import wandb  # imported late: it takes a second

    return wandb


def _start_wandb(
    folder: Path, config: TrackingConfig, name: str, group: str, settings: Mapping[str, Any]
) -> Any | None:
    mode = config.wandb or default_wandb_mode()
    if mode == "disabled":
        return None
    wandb = _wandb()
    id_file = folder / "wandb_id"
    run_id = id_file.read_text().strip() if id_file.exists() else uuid.uuid4().hex[:8]
    try:
        run = wandb.init(
            project=config.project,
            name=name,
            group=group,
            config=dict(settings),
            dir=folder,
            mode=mode,
            id=run_id,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(silent=True),
        )
    except Exception as error:  # no network, a wrong key: the run itself must not be lost
        say(f"Weights & Biases is off: {error}")
        return None
    id_file.write_text(run_id)
    return run


def default_wandb_mode() -> WandbMode:
    """What `wandb` does when it is not told: `WANDB_MODE`, else online with an API key, else offline."""
    chosen = os.environ.get("WANDB_MODE")
    if chosen in ("online", "offline", "disabled"):
        return chosen  # type: ignore[return-value]
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    has_key = bool(os.environ.get("WANDB_API_KEY")) or (netrc.is_file() and "wandb" in netrc.read_text())
    return "online" if has_key else "offline"


def progress_bar(name: str, total: int, done: int, unit: str, shown: bool = True) -> tqdm:
    """A bar with speed and time left; a line every half minute where the output is no terminal.

    With `shown` False it takes the same calls and prints nothing.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit=f" {unit}",
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        smoothing=0.05,
        disable=not shown,
    )


def say(text: str) -> None:
    """Print a line above any progress bar."""
    tqdm.write(text, file=sys.stderr)


def summarize(metrics: Metrics) -> str:
    """Metrics on one line, for people."""
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
