"""Frozen dataclasses to and from plain dictionaries and YAML, with every name and value checked."""

import dataclasses
import difflib
import json
import os
import re
import typing
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
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
    if repeated := {str(key) for key in keys if keys.count(key) > 1}:
        raise yaml.constructor.ConstructorError(None, None, f"repeated key {', '.join(repeated)}", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_keys)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain containers, as YAML and JSON take them; paths become text."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=os.fspath))


def from_dict(kind: type[T], values: Any, where: str = "") -> T:
    """A dataclass from plain containers; fields that are absent keep their defaults.

    Raises:
        ValueError: for an unknown key, with the nearest known one, and for a value of a wrong type or range.
    """
    _check_keys(kind, values, where)
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join([where, *map(str, problem["loc"])]).strip(".")
        message = problem["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name}: {message}, got {problem['input']!r}" if name else message) from None


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
