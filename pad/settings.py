"""Frozen dataclasses to and from plain dictionaries and YAML, with every name and value checked."""

import dataclasses
import difflib
import functools
import json
import math
import os
import re
import types
import typing
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

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
    """Plain containers, as YAML and JSON take them; paths become text."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=os.fspath))


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


def check_choices(config: Any) -> None:
    """That every field of a dataclass that names one of some choices, or several of them, does.

    For `__post_init__`: what comes from YAML is checked by `from_dict`, what is made in Python by nobody else.

    Raises:
        ValueError: when one does not, naming the value and the choices.
    """
    kind: Any = type(config)
    for name, (choices, several) in _fields_with_choices(kind).items():
        value = getattr(config, name)
        named = value if several and isinstance(value, (tuple, list)) else [value]
        if (several and isinstance(value, str)) or any(one not in choices for one in named):
            what = "a tuple of some of" if several else "one of"
            raise ValueError(f"{name} must be {what} {', '.join(map(str, choices))}, got {value!r}")


def check_finite(config: Any) -> None:
    """That every number of a dataclass is one, and not infinite. For `__post_init__`.

    Raises:
        ValueError: when one is not.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} must be a finite number, got {value}")


@functools.cache
def _fields_with_choices(kind: Hashable) -> dict[str, tuple[tuple[Any, ...], bool]]:
    """Of each field that is one of some literals, or a tuple of them: these, and whether it is a tuple."""
    fields = {}
    for name, hint in typing.get_type_hints(kind).items():
        several = typing.get_origin(hint) is tuple
        if choices := _literals(typing.get_args(hint)[0] if several else hint):
            fields[name] = choices, several
    return fields


def _literals(hint: Any) -> tuple[Any, ...]:
    """The values that a hint allows; none where it allows more than literals."""
    if hint is type(None):
        return (None,)
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_literals(part) for part in typing.get_args(hint)]
        return tuple(value for part in parts for value in part) if all(parts) else ()
    return ()


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
