import errno
import os
from pathlib import Path

import pytest

from pad.files import first_line, write_atomically, write_folder


def test_a_file_is_replaced_by_the_whole_new_one_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "folder" / "file"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(Path, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path):
    write_folder(tmp_path / "folder", {"a": b"1", "b": b"2"})
    write_folder(tmp_path / "folder", {"c": b"3"})
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["c"]


def test_an_error_is_told_in_one_line_and_by_its_type_where_it_says_nothing():
    assert first_line(ValueError("\nwhat\nand why")) == "what"
    assert first_line(KeyError()) == "KeyError()"
