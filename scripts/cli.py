"""What the commands share: settings from a file and flags, and errors that take one line."""

import contextlib
import hashlib
import importlib
import io
import os
import re
import shlex
import signal
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import tyro

try:
    from envs import OpenGLUnavailable
except RuntimeError as error:  # that very error, raised while the package was imported
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

from pad.files import write_atomically
from pad.tracking import say

T = TypeVar("T")


class BadInput(Exception):
    """Something the user named is not there or not allowed; the message is one line."""


class UsersError(Exception):
    """Code of the user's failed; the message says where, and the trace the line, also out of another process."""

    def __init__(self, message: str, trace: str | None = None) -> None:
        trace = traceback.format_exc() if trace is None else trace
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        return str(self.args[0])


def run(main: Callable[[], None]) -> NoReturn:
    """Call a command; bad input ends it with one line and exit code 2, an interrupt with 130."""
    # SIGTERM unwinds like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except UsersError as error:
        say(error.trace.rstrip())
        fail(str(error))
    except (BadInput, ValueError, OpenGLUnavailable, ChildProcessError) as error:
        fail(str(error))
    except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        fail(str(error) if error.filename is None else f"{error.strerror}: {error.filename}")
    except BrokenPipeError:
        sys.exit(141)  # whoever read our output has had enough
    except OSError as error:
        fail(f"the disk or device refused: {error}")
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    sys.exit(0)


def fail(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    say(f"error: {' '.join(message.split())}")
    sys.exit(2)


def parse(kind: type[T], arguments: Sequence[str], default: T | None = None) -> T:
    """Settings from flags over `default`; `--help` explains every one of them.

    Raises:
        BadInput: for a flag or value that is not allowed.
    """
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            found = tyro.cli(kind, args=list(arguments), default=default, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise BadInput(_said(captured.getvalue())) from None
    for seed in (getattr(found, "seed", 0), *getattr(found, "seeds", ())):
        if seed < 0:
            raise BadInput(f"a seed must be at least 0, got {seed}")
    return found


def _said(box: str) -> str:
    """What a box on the terminal says, in one line: without its frame and title, and what it repeats of the help."""
    lines = (re.sub(r"\x1b\[[0-9;]*m|[╭╮╰╯│─├┤]|-{3,}", " ", line).strip() for line in box.splitlines())
    text = " ".join(" ".join([line for line in lines if line][1:]).split())
    text = re.sub(r" Argument helptext: .* (?=See |For full helptext)", " ", text)
    text = re.sub(r"^Error parsing ([A-Z]\w+|--[\w.-]+): ", lambda found: _named(found[1]), text)
    return re.sub(r"For full helptext, (see|run)", "See", text)


def _named(what: str) -> str:
    """A flag stands before what is wrong with its value; a class of settings says nothing to a user."""
    return f"{what}: " if what.startswith("--") else ""


def take_option(arguments: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """The value of `--name VALUE` or `--name=VALUE`, the last if it is repeated, and the other arguments."""
    value, rest, remaining = None, list[str](), list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument == f"--{name}":
            if not remaining:
                raise BadInput(f"--{name} needs a value")
            value = remaining.pop(0)
        elif argument.startswith(f"--{name}="):
            value = argument.split("=", 1)[1]
        else:
            rest.append(argument)
    return value, rest


def positional(doc: str | None, *names: str) -> list[str]:
    """The arguments of a command that takes these and no flags; `--help` prints `doc` and ends it.

    Raises:
        BadInput: when they are more or fewer.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print((doc or "").strip())
        sys.exit(0)
    if len(arguments) != len(names):
        got = f"{len(arguments)} arguments" if len(arguments) != 1 else "1 argument"
        command = Path(sys.argv[0]).name
        raise BadInput(f"{command} takes {' '.join(names)}, got {got}: {command} --help says what they are")
    return arguments


def look_here() -> None:
    """Modules are looked for in the current folder too, after this package's, which other processes import as well."""
    if "" not in sys.path:
        ours = [number for number, folder in enumerate(sys.path) if Path(folder).resolve() == Path(__file__).parent]
        sys.path.insert(ours[0] + 1 if ours else 0, "")


def typed() -> str:
    """The command as it was typed, to be typed again."""
    return f"python {shlex.join(sys.argv)}"


def load_function(name: str) -> Callable[[], Any]:
    """What `module:function` names.

    Raises:
        BadInput: when there is no such module or function.
        UsersError: when the module fails.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise BadInput(f"name a function as module:function, got {name!r}")
    loaded = load_module(module, name)
    if not hasattr(loaded, function):
        raise BadInput(f"cannot load {name!r}: {loaded.__file__ or module} has no {function}")
    found = getattr(loaded, function)
    if not callable(found):
        raise BadInput(f"{name} is no function but {type(found).__name__}")
    return found


def load_module(module: str, name: str | None = None) -> types.ModuleType:
    """The module, with the current folder among those that it is looked for in.

    Args:
        name: what the user wrote, for the message.

    Raises:
        BadInput: when there is none, or one of the commands is called so.
        UsersError: when it fails.
    """
    look_here()
    if module not in sys.modules:
        importlib.invalidate_caches()
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise UsersError(f"importing {module} failed: {error!r}") from error
        raise BadInput(
            f"cannot load {name or module!r}: {error}; modules are looked for in the current folder and in PYTHONPATH"
        ) from error
    except Exception as error:
        raise UsersError(f"importing {module} failed: {error!r}") from error
    if Path(loaded.__file__ or "").parent == Path(__file__).parent:
        raise BadInput(f"cannot load {name or module!r}: a module of this package is called {module}, rename yours")
    return loaded


def call_function(name: str) -> Any:
    """What the function that `module:function` names returns.

    Raises:
        BadInput: when there is no such module or function.
        UsersError: when it fails.
    """
    function = load_function(name)
    try:
        return function()
    except BadInput:
        raise
    except Exception as error:
        raise UsersError(f"{name} failed: {error!r}") from error


def check_device(device: str) -> str:
    """A device that torch can use here.

    Raises:
        BadInput: when there is none of that name.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise BadInput(f"device {device!r} is not usable; known: {', '.join(known)}") from error
    return device


def check_outputs(*files: Path | None) -> None:
    """Refuse at the beginning what could not be written at the end.

    Raises:
        OSError: for what is a folder, or lies where nothing can be written.
    """
    for path in files:
        if path is None:
            continue
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file")
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file, so that {path} cannot be")
        if not os.access(existing, os.W_OK):
            raise PermissionError(f"{existing} is not writable")


def partial(output: Path) -> Path:
    """Where results that were cut short are written: whole ones that lie at `output` stay."""
    return output.with_stem(f"{output.stem}.partial")


def file_name(text: str) -> str:
    """Text as a part of a file's name: what is no letter, digit, dot, plus or minus becomes an underscore.

    Of a long one the beginning, and what tells it from others that begin alike.
    """
    name = re.sub(r"[^A-Za-z0-9.+-]+", "_", text)
    return name if len(name) <= 120 else f"{name[:100]}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the whole new one."""
    write_atomically(path, text.encode())
