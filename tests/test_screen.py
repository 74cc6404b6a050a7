import cli
import pytest
from screen import Kept, ScreenConfig, format_screening, read_candidates
from test_commands import ROOT


def test_candidates_that_are_wanted_and_not_there_are_told_with_those_that_are():
    folder = ROOT / "configs" / "adaptation"
    assert list(read_candidates(folder, ("unguarded",), False, False)) == ["frozen", "unguarded"]
    with pytest.raises(cli.BadInput, match="has no unguided; it has: .*unguarded"):
        read_candidates(folder, ("unguarded", "unguided"), False, False)


def row(checkpoint: str, shift: str, candidate: str, gain: float) -> dict:
    difference = {"mean": gain, "low": gain - 1, "high": gain + 1}
    return {"checkpoint": checkpoint, "shift": shift, "candidate": candidate, "frozen": {"mean": 500.0},
            "adapted": {"mean": 500 + gain}, "difference": difference}  # fmt: skip


def test_a_screening_is_shown_long_and_not_wide_and_its_best_candidate_first():
    gains = {"fair": 5.0, "good": 20.0}
    rows = [row(agent, "none", name, gain) for agent in ("a", "b", "c") for name, gain in gains.items()]
    lines = format_screening(rows).splitlines()
    assert lines[0] == "| adapted - frozen | *frozen return* | good | fair |"
    assert lines[2] == "| a, none | 500 | +20 [+19, +21] | +5 [+4, +6] |"
    assert lines[-1] == "| mean |  | +20 | +5 |"
    # Of two candidates and one cell the candidates stand below each other.
    lines = format_screening(rows[:2]).splitlines()
    assert lines[0] == "| adapted - frozen | a, none | mean |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| *frozen return*", "| good", "| fair"]


def kept(folder, **changed):
    changed.setdefault("checkpoints", ("cartpole_swingup",))
    config = ScreenConfig(output=folder / "kept.json", **changed)
    return Kept(config, read_candidates(ROOT / "configs" / "adaptation", ("unguarded",), False, False))


def test_a_screening_does_not_go_on_under_a_shift_whose_file_has_changed(tmp_path):
    shift = tmp_path / "mine.yaml"
    shift.write_text("segments: [{shifts: color_hard}]")
    first = kept(tmp_path, shift=(str(shift),))
    first.add([row("cartpole_swingup", *first._config.shift, "unguarded", 1.0)])
    assert kept(tmp_path, shift=(str(shift),)).groups == {("cartpole_swingup", "color_hard")}
    shift.write_text("segments: [{shifts: video_hard}]")
    assert kept(tmp_path, shift=(str(shift),)).groups == set()


def test_another_screening_does_not_overwrite_one_that_was_interrupted(tmp_path):
    first = kept(tmp_path, shift=("none", "color_hard"))
    first.add([row("cartpole_swingup", shift, "unguarded", 1.0) for shift in ("none", "color_hard")])
    with pytest.raises(cli.BadInput, match="kept.partial.json holds an interrupted screening of other settings .epis"):
        kept(tmp_path, episodes=1)
    with pytest.raises(cli.BadInput, match=r"other settings .*env"):
        kept(tmp_path, env=("my:env",))
    # A shift that is not asked for now stays for later.
    fewer = kept(tmp_path, shift=("none",))
    assert fewer.groups == {("cartpole_swingup", "none")}
    fewer.add([])
    fewer.finish()
    assert kept(tmp_path, shift=("none", "color_hard")).groups == {
        ("cartpole_swingup", shift) for shift in ("none", "color_hard")
    }
