"""Frozen dataclasses to and from plain dictionaries and YAML, with every name and value checked."""

import dataclasses
import difflib
import functools
import json
import math
import numbers
import os
import re
import types
import typing
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as everywhere else, and a key may stand only once."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _unique_keys(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    merged = "tag:yaml.org,2002:merge"  # <<: what comes with it may be said otherwise here
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value if key.tag != merged]
    if repeated := {str(key) for key in keys if keys.count(key) > 1}:
        raise yaml.constructor.ConstructorError(None, None, f"repeated key {', '.join(repeated)}", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_keys)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain containers, as YAML and JSON take them; paths become text, and NumPy's numbers Python's."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else os.fspath(value)


def from_dict(kind: type[T], values: Any, where: str = "") -> T:
    """A dataclass from plain containers; fields that are absent keep their defaults, those of an inner dataclass too.

    Raises:
        ValueError: for an unknown key, with the nearest known one, and for a value of a wrong type or range.
    """
    _check_keys(kind, values, where)
    try:
        return TypeAdapter(kind).validate_json(json.dumps(_over_defaults(kind, values), default=str), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join([where, *map(str, problem["loc"])]).strip(".")
        message = problem["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name}: {message}, got {problem['input']!r}" if name else message) from None


def _over_defaults(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Values with what inner dataclasses lack: of the field's own default, which need not be their class's."""
    filled, hints = dict(values), typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner = values.get(field.name)
        if isinstance(inner, dict) and dataclasses.is_dataclass(hints[field.name]):
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            of_field = to_dict(default) if dataclasses.is_dataclass(default) else {}
            filled[field.name] = _merged(of_field, inner)
    return filled


def _merged(default: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = dict(default)
    for name, value in values.items():
        inner = default.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def check_fields(config: Any) -> None:
    """Check that every field of a settings dataclass holds what its annotation declares. For `__post_init__`.

    A list that stands for a tuple becomes one.

    What comes from YAML is checked by `from_dict`, what is made in Python by nobody else. See `check_value` for what
    passes.

    Raises:
        ValueError: when a field holds something else, naming the field, its value and what is allowed.
        TypeError: the same for a field that is a dataclass of its own.
    """
    kind: Any = type(config)
    for name, hint in _hints(kind).items():
        value = getattr(config, name)
        check_value(name, value, hint)
        if isinstance(value, list):  # a tuple is what was declared, and can be compared and hashed
            object.__setattr__(config, name, tuple(value))


def check_value(name: str, value: Any, hint: Any) -> None:
    """Check one setting against its type.

    Numbers must be finite; a whole number passes for a float, a bool for no number, a list for a tuple.

    Args:
        hint: int, float, bool, str, None, a Literal, another class, a union of these, or a tuple of any number of them.

    Raises:
        ValueError: when it is something else, naming the value and what is allowed.
        TypeError: the same where the type is a dataclass.
    """
    if not _holds(value, hint):
        error = TypeError if dataclasses.is_dataclass(hint) else ValueError
        raise error(f"{name} must be {_allowed(hint)}, got {value!r}")


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(typing.cast(Any, kind))}


def _holds(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return any(_holds(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, (tuple, list)) and all(_holds(one, parts[0]) for one in value)
    if hint in _NUMBERS:
        finite = isinstance(value, numbers.Integral) or (isinstance(value, numbers.Real) and math.isfinite(value))
        return finite and isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool)
    return isinstance(value, (bool, np.bool_) if hint is bool else hint)


def _allowed(hint: Any) -> str:
    """What a type allows, in words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return " or ".join(map(_allowed, parts))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        return f"a tuple, each item {_allowed(parts[0])}"
    article = "an" if hint.__name__[0] in "AEIOU" else "a"
    return _WORDS.get(hint) or f"{article} {hint.__name__}" + ("(...)" if dataclasses.is_dataclass(hint) else "")


_UNIONS = typing.Union, types.UnionType
_NUMBERS: dict[Any, Any] = {int: numbers.Integral, float: numbers.Real}
"""NumPy's numbers are among these."""
_WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a string",
    type(None): "None",
}


def _check_keys(kind: Any, values: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{where or 'settings'} must map names to values, got {values!r}")
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        name = f"{where}.{key}".strip(".")
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1)
            known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(hints)}"
            raise ValueError(f"unknown key {name!r}; {known}")
        if dataclasses.is_dataclass(hints[key]):
            _check_keys(hints[key], value, name)


def read_yaml(kind: type[T], path: Path) -> T:
    """A dataclass from a YAML file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not YAML, or `from_dict` refuses it; the message begins with the path.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no config file {path}")
    try:
        values = yaml.load(path.read_text(), _Loader)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return from_dict(kind, {} if values is None else values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
