import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.shifts import SHIFTS, Shift, make_shift, normalize, register
from envs.shifts.schedule import Part, Segment, Timetable, from_yaml, parse

strengths = st.floats(0, 1)
parts = st.builds(Part, st.sampled_from(sorted(SHIFTS)), strengths, strengths)
together = st.lists(parts, max_size=4, unique_by=lambda part: part.name).map(tuple)


@st.composite
def timetables(draw):
    begins = [0, *sorted(draw(st.sets(st.integers(1, 500), max_size=3)))]
    repeat = draw(st.none() | st.integers(501, 900))
    return Timetable(tuple(Segment(at, draw(together)) for at in begins), repeat)


@given(timetables())
def test_what_is_written_is_read_as_the_same(timetable):
    assert parse(str(timetable)) == timetable
    assert normalize(normalize(str(timetable))) == normalize(str(timetable))


def test_one_line_says_what_when_and_how_much():
    timetable = parse("color_hard+camera:0.4@0, noise:0..1@50, none@80, repeat@100")
    first, second, third = timetable.segments
    assert first.parts == (Part("color_hard"), Part("camera", 0.4, 0.4))
    assert (second.at, second.parts) == (50, (Part("noise", 0.0, 1.0),))
    assert (third.at, third.parts) == (80, ())
    assert timetable.find(49) == (0, 49)
    assert timetable.find(155) == (1, 5)
    assert timetable.length(1, horizon=1000) == 30


def test_yaml_says_the_same(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "repeat: 100\nsegments:\n- {at: 0, shifts: {color_hard: 1, camera: 0.4}}\n- {at: 50, shifts: {noise: 0..1}}\n"
        "- {at: 80, shifts: none}\n"
    )
    assert parse(str(path)) == parse("color_hard+camera:0.4@0, noise:0..1@50, none@80, repeat@100")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no shift"),
        ("fog", "unknown shift 'fog'; known: none, color_easy"),
        ("noise:2", "strength of noise must be from 0 to 1, got 2"),
        ("noise:-1", "'noise:-1' is no shift"),
        ("noise:", "'noise:' is no shift"),
        ("noise + noise", "noise stands twice"),
        ("noise + none", "none stands alone"),
        ("none:0.5", "none stands alone"),
        ("noise@5", "must begin at step 0, got 5"),
        ("noise, blur", "'blur' needs the agent's step"),
        ("noise@0, blur@50, gamma@50", "got @50 after @50"),
        ("noise@0, repeat@0", "got @0 after @0"),
        ("noise@0, blur@x", "'blur@x' needs the agent's step|is no shift"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        make_shift(text)


@pytest.mark.parametrize(
    "values",
    [None, 3, "noise", [], {}, {"segments": 1}, [{"at": 0}], [{"shifts": 3}], [{"at": -1, "shifts": "noise"}],
     [{"at": True, "shifts": "noise"}], {"segments": [{"shifts": "noise"}], "repeat": "soon"},
     [{"shifts": {"noise": "loud"}}], [{"shifts": {"noise": 1}, "extra": 1}]],
)  # fmt: skip
def test_yaml_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match="must|segment|no shift|a shift is"):
        from_yaml(values)


def test_a_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.yaml"):
        parse(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "broken.yaml").write_text("[")
    with pytest.raises(ValueError, match=r"broken\.yaml"):
        parse(str(tmp_path / "broken.yaml"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("noise", "is a shift noise already"),
        ("none", "none already"),
        ("repeat", "repeat already"),
        ("My fog", "small letters and underscores, got 'My fog'"),
    ],
)
def test_a_name_that_cannot_be_given_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        register(name, Shift)
    assert "My fog" not in SHIFTS
