"""The report of a benchmark, from made-up results: what it says, what it refuses, and how large it becomes."""

import csv
import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cli
import numpy as np
import pytest
import report
import report_lifelong
import report_rows
import report_tables
import report_videos
import yaml
from cells import Cell, Result
from report_overview import make_overview
from report_words import missing_cells
from results_folder import read_results
from results_folder_example import make_cell, write_cell, write_failure, write_results
from test_commands import ROOT, call

import envs
from pad.statistics import compare_returns

SEQUENCE = ["none", "none", "color_hard", "color_hard", "none", "none", "color_hard", "color_hard", "none", "none"]


def make(folder: Path, flags: str = ""):
    return call(f"report.py {folder} --wandb disabled {flags}", folder.parent)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two tasks, two shifts, three policies, two seeds, a lifelong run and a failure, with their report."""
    folder = tmp_path_factory.mktemp("report") / "results"
    write_results(
        folder, ("walker_walk", "cartpole_swingup"), policies=("frozen", "default", "light"), seeds=(0, 1),
        sequence=SEQUENCE,
    )  # fmt: skip
    write_failure(folder, make_cell("walker_walk", "fog", "default", 0, ["fog"]), "no fog & no <mist>")
    result = make(folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def small(tmp_path) -> Path:
    return write_results(tmp_path / "results", decisions=10)


class Page(HTMLParser):
    """Tags, ids, headings and the rows of the table of all numbers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.ids, self.headings, self.rows, self.scripts = [], [], [], [], []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags.append((tag, named))
        if "id" in named:
            self.ids.append(named["id"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "tr" and "data-policy" in named:
            self.rows.append([])
        self._inside = "row" if self.rows and tag in ("td", "th") and "data-value" in named else self._inside
        if self._inside == "row" and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._inside = "" if tag in ("td", "th") else self._inside

    def handle_data(self, data):
        if self._inside == "row":
            self.rows[-1][-1] += data


def read_page(folder: Path) -> tuple[str, Page]:
    text = (folder / "report.html").read_text()
    return text, Page(text)


def test_html_csv_markdown_and_latex_say_the_same_numbers(folder):
    rows = list(csv.DictReader((folder / "table.csv").open()))
    _, page = read_page(folder)
    markdown = (folder / "table.md").read_text().splitlines()[2:]
    latex = (folder / "table.tex").read_text().split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert len(rows) == len(page.rows) == len(markdown) == len(latex) == 2 * 2 * 3
    shown = [name for name in report_tables.COLUMNS if name != "task"]
    for numbers, cells, line, tex in zip(rows, page.rows, markdown, latex, strict=True):
        texts = dict(zip(shown, cells, strict=True))
        assert texts["return"].startswith(f"{round(float(numbers['mean']))} [{round(float(numbers['mean_low']))}, ")
        assert texts["deviation"] == f"{float(numbers['deviation']):.0f}"
        if numbers["policy"] == "frozen":
            assert texts["difference"] == "–"
            assert numbers["difference"] == ""
        else:
            low, high = (round(float(numbers[f"difference_{end}"])) for end in ("low", "high"))
            assert texts["difference"] == f"{round(float(numbers['difference'])):+d} [{low:+d}, {high:+d}]"
            assert texts["regret"] == f"{float(numbers['regret']):.0f}"
        for text in (texts["return"], texts["difference"], texts["improvement"], texts["outcome"]):
            assert f"| {text} |" in line
            assert f"& {text.replace('–', '--')} &" in tex


def test_a_row_is_the_paired_comparison_of_its_seeds(folder):
    cells = read_results(folder).cells
    rows = report_rows.make_rows(cells)
    (row,) = (r for r in rows if (r.task, r.shift, r.policy) == ("walker_walk", "color_hard", "default"))
    arms = [
        [c.returns for c in cells if (c.task, c.shift, c.policy) == ("walker_walk", "color_hard", policy)]
        for policy in ("frozen", "default")
    ]
    assert row.comparison == compare_returns(np.concatenate(arms[0]), np.concatenate(arms[1]))
    assert row.deviation == pytest.approx(np.std([np.mean(seed) for seed in arms[1]], ddof=1))
    assert (len(row.cells), row.episodes) == (2, 6)


def test_agents_of_one_task_are_also_taken_together(small):
    for policy in ("frozen", "default"):
        for shift in ("none", "color_hard"):
            cell = make_cell("walker_walk", shift, policy, 0, [shift] * 3, checkpoint="runs/walker_2")
            write_cell(small, cell, [shift] * 3, 10)
    rows = report_rows.make_rows(read_results(small).cells)
    pooled = [row for row in rows if row.pooled]
    assert {row.agent for row in pooled} == {"all 2 agents"}
    assert all(len(row.cells) == 2 and row.deviation is not None for row in pooled)


def test_agents_are_taken_together_under_the_shifts_that_they_met_and_as_many_as_did(small):
    for number in (2, 3):
        for policy in ("frozen", "default"):
            for shift in ("none", "color_hard")[: number - 1]:
                name = f"runs/walker_{number}"
                write_cell(small, make_cell("walker_walk", shift, policy, 0, [shift] * 3, name), [shift] * 3, 10)
    rows = report_rows.make_rows(read_results(small).cells)
    assert {(row.agent, row.shift) for row in rows if row.pooled} == {
        ("all 3 agents", "none"), ("2 of 3 agents", "color_hard"),
    }  # fmt: skip


def test_agents_that_saw_random_backgrounds_are_not_taken_for_another_seed_of_those_that_did_not(small):
    for name in ("walker_2", "walker_backgrounds", "walker_backgrounds_2"):
        for policy in ("frozen", "default"):
            write_cell(
                small, make_cell("walker_walk", "none", policy, 0, ["none"] * 3, f"runs/{name}"), ["none"] * 3, 10
            )
    rows = report_rows.make_rows(read_results(small).cells)
    assert {(row.agent, len(row.cells)) for row in rows if row.pooled and row.shift == "none"} == {
        ("all 2 agents", 2), ("all 2 agents trained with random backgrounds", 2),
    }  # fmt: skip


def test_one_agent_that_was_measured_in_two_ways_is_not_taken_for_two(small):
    for policy in ("frozen", "default"):
        cell = make_cell("walker_walk", "none", policy, 0, ["none"] * 5)
        write_cell(small, cell, ["none"] * 5, 10)
    assert not [row for row in report_rows.make_rows(read_results(small).cells) if row.pooled]


def test_the_deviation_over_agents_is_of_their_means_however_many_seeds_of_episodes_each_has(tmp_path):
    folder = write_results(tmp_path / "results", shifts=("none",), policies=("frozen",), seeds=(0, 1), decisions=10)
    for seed in (0, 1):
        cell = make_cell("walker_walk", "none", "frozen", seed, ["none"] * 3, "runs/walker_2")
        write_cell(folder, cell, ["none"] * 3, 10)
    (row,) = (row for row in report_rows.make_rows(read_results(folder).cells) if row.pooled)
    means = [np.mean([r for c in row.cells if c.checkpoint == name for r in c.returns])
             for name in ("walker_walk", "runs/walker_2")]  # fmt: skip
    assert row.deviation == pytest.approx(np.std(means, ddof=1))


def test_a_mean_is_not_compared_with_one_over_other_episodes(tmp_path):
    folder = write_results(tmp_path / "results", shifts=("none",), seeds=(0, 1), decisions=10, videos=False)
    gone = next(c for c in read_results(folder).cells if (c.policy, c.seed) == ("frozen", 1))
    gone.path.unlink()
    row = next(row for row in report_rows.make_rows(read_results(folder).cells) if row.policy == "default")
    assert row.comparison is None
    assert "Not compared" in make(folder).stdout


def test_a_benchmark_that_was_stopped_in_its_second_task_has_a_report(tmp_path):
    folder = write_results(tmp_path / "results", ("walker_walk", "cartpole_swingup"), ("none",), decisions=10)
    gone = next(c for c in read_results(folder).cells if (c.task, c.policy) == ("cartpole_swingup", "default"))
    gone.path.unlink()
    result = make(folder)
    assert result.returncode == 0, result.stderr
    assert "all tasks" not in (folder / "report.html").read_text()


def test_what_a_cell_does_not_say_is_not_recorded(small):
    path = next((small / "cells").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "measured": {}}))
    write_failure(small, {"shift": "fog"}, "no fog")
    result = make(small)
    assert result.returncode == 0, result.stderr
    assert "not recorded" in (small / "report.html").read_text()


def test_an_overview_names_every_command_and_tells_the_tasks_of_one_agent_apart(tmp_path):
    folder = write_results(tmp_path / "results", shifts=("none",), seeds=(0, 1), decisions=10, videos=False)
    for policy in ("frozen", "default"):
        cell = make_cell("walker_stand", "none", policy, 0, ["none"] * 3, "walker_walk")
        write_cell(folder, cell, ["none"] * 3, 10)
    overview = make_overview(read_results(folder))
    assert overview.count("`python scripts/benchmark.py") == 2
    assert "| walker\\_walk on walker\\_walk |" in overview
    assert "| walker\\_walk on walker\\_stand |" in overview


def test_cells_that_differ_in_other_settings_are_never_mixed(small):
    cell = make_cell("walker_walk", "color_hard", "frozen", 0, ["color_hard"] * 3)
    cell["env"]["quality"] = "standard"
    write_cell(small, cell, ["color_hard"] * 3, 10)
    rows = report_rows.make_rows(read_results(small).cells)
    named = {(row.agent, row.shift, row.policy) for row in rows if not row.pooled}
    assert ("walker_walk (quality standard)", "color_hard", "frozen") in named
    assert {agent for agent, *_ in named} == {"walker_walk (quality fast)", "walker_walk (quality standard)"}


def test_a_policy_that_was_measured_with_other_settings_under_the_same_name_is_refused(small):
    path = next(p for p in (small / "cells").glob("*.json") if '"default"' in p.read_text())
    record = json.loads(path.read_text())
    record["cell"]["adaptation"]["learning_rate"] = 0.1
    (small / "cells" / "other.json").write_text(json.dumps({**record, "id": "other"}))
    check_refused(make(small), "cells/other.json are both default in one cell; remove the older")


def test_the_summary_says_what_failed_and_what_was_not_compared(small):
    for path in (small / "cells").glob("*.json"):
        cell = json.loads(path.read_text())["cell"]
        if (cell["policy"], cell["shift"]) == ("frozen", "none"):
            path.unlink()
    write_failure(small, make_cell("walker_walk", "fog", "default", 0, ["fog"]), "no fog")
    result = make(small)
    assert result.returncode == 0, result.stderr
    assert "1 cell could not be measured" in result.stdout
    assert "not measured on the episodes of walker_walk under none (default)" in result.stdout
    assert "1 of 1 comparison," in result.stdout


def test_a_failed_cell_is_shown_until_it_has_been_measured(folder, small):
    text, _ = read_page(folder)
    assert "no fog &amp; no &lt;mist&gt;" in text
    cell = json.loads(next((small / "cells").glob("*.json")).read_text())
    write_failure(small, cell["cell"])
    failed = json.loads((small / "failed" / "feed.json").read_text())
    (small / "failed" / "feed.json").write_text(json.dumps({**failed, "id": cell["id"]}))
    assert not read_results(small).failures


def test_whatever_comes_from_a_file_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>$x_1$ \"'&|"
    folder = write_results(tmp_path / "results", policies=(), decisions=10)
    for policy in ("frozen", evil):
        cell = make_cell(evil, evil, policy, 0, [evil] * 2)
        write_cell(folder, cell, [evil] * 2, 10)
        write_cell(folder, {**cell, "shift": "sequence", "sequence": ["none", evil]}, ["none", evil], 10)
    write_failure(folder, make_cell(evil, evil, evil, 0, [evil]), evil)
    result = make(folder)
    assert result.returncode == 0, result.stderr
    text, page = read_page(folder)
    assert "<script>alert" not in text
    assert [named for tag, named in page.tags if tag == "script" and "type" not in named] == [{}]
    assert "\\textless{}script\\textgreater{}" in (folder / "table.tex").read_text()
    assert "\\<script\\>" in (folder / "table.md").read_text()


def test_the_page_asks_nothing_of_a_network(folder):
    text, page = read_page(folder)
    for tag, named in page.tags:
        for name in ("src", "href", "action", "poster", "data"):
            assert not named.get(name) or named[name].startswith(("#", "data:,")), (tag, named)
    policy = next(named["content"] for tag, named in page.tags if named.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"url\((?!#)|@import", text)


def test_the_page_is_one_that_a_screen_reader_can_walk(folder):
    _, page = read_page(folder)
    assert len(page.ids) == len(set(page.ids))
    assert page.headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(page.headings))
    links = [named["href"][1:] for tag, named in page.tags if tag == "a"]
    assert set(links) <= set(page.ids)
    tables, captions = (sum(tag == wanted for tag, _ in page.tags) for wanted in ("table", "caption"))
    assert tables == captions
    assert all("scope" in named for tag, named in page.tags if tag == "th")
    assert all(named.get("aria-label") for tag, named in page.tags if named.get("role") in ("img", "region", "group"))
    assert all(named.get("aria-label") for tag, named in page.tags if tag == "video")


def test_every_cell_says_how_it_was_measured(folder):
    text, page = read_page(folder)
    for cell in read_results(folder).cells:
        assert f"cell-{cell.id}" in page.ids
        assert cell.measured["command"] in text
    assert "AMD EPYC, 2 cores, Linux" in text
    assert "dm_control 1.0.50" in text
    assert "learning_rate: 0.01" in text


def contrast(first: str, second: str) -> float:
    """The ratio of the Web Content Accessibility Guidelines, 2.1."""

    def luminance(color: str) -> float:
        parts = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    lower, higher = sorted((luminance(first), luminance(second)))
    return (higher + 0.05) / (lower + 0.05)


@pytest.mark.parametrize("theme", [1, 2], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_paper(theme):
    style = (ROOT / "scripts" / "report" / "style.css").read_text()
    colors = {m[1]: m[1 + theme] for m in re.finditer(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style)}
    for paper in (colors["paper"], colors["raised"]):
        for name in ("ink", "soft", "link", "gain", "loss"):
            assert contrast(colors[name], paper) >= 4.5, name
        for name in ("edge", *(name for name in colors if name.startswith("arm-"))):
            assert contrast(colors[name], paper) >= 3, name


@pytest.mark.slow
def test_a_report_without_room_leaves_out_the_films_that_show_least_and_says_so(folder, tmp_path):
    whole = (folder / "report.html").stat().st_size
    films = sum(path.stat().st_size for path in (folder / "videos").glob("*.mp4"))
    limit = (whole - films / 2) / 1e6
    result = make(folder, f"--output {tmp_path / 'small.html'} --max-megabytes {limit}")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "small.html").read_text()
    assert len(text.encode()) <= limit * 1e6
    left = int(re.search(r"left out (\d+) videos", result.stderr)[1])
    assert 0 < left < len(list((folder / "videos").glob("*.mp4")))
    assert f"{left} of {len(list((folder / 'videos').glob('*.mp4')))} videos are left out" in text
    assert make(folder, f"--output {tmp_path / 'again.html'} --max-megabytes {limit}").returncode == 0
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "small.html").read_bytes()


def test_a_frozen_film_stays_as_long_as_one_to_compare_it_with(folder):
    cells = [cell for cell in read_results(folder).cells if cell.sequence is None]
    met = report_videos.filmed(report_rows.meetings(cells))
    assert len(met) == 4
    total = sum(report_videos.embedded_size(c.video) for meeting in met for c in meeting.values())
    left: list[set[str]] = []
    for share in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):
        choice = report_videos.choose_videos(met, int(total * share))
        for meeting in met:
            kept = {policy for policy, cell in meeting.items() if cell.id in choice.kept}
            assert not kept or "frozen" in kept
        left.append({cell.id for cell in choice.left_out})
    assert all(fewer <= more for fewer, more in pairwise(left))
    assert (len(left[0]), len(left[-1])) == (0, 12)


def test_without_videos_there_are_still_curves(tmp_path):
    folder = write_results(tmp_path / "results", videos=False, decisions=10)
    assert make(folder).returncode == 0
    text, page = read_page(folder)
    assert "no video" in text
    assert sum(tag == "polyline" for tag, _ in page.tags) == 2 * 2 * 2


def test_a_lifelong_run_tells_first_from_second_meetings_and_what_was_forgotten(folder):
    (course,) = report_lifelong.make_courses(read_results(folder).cells)
    assert [run.policy for run in course.policies] == ["frozen", "default", "light"]
    for run in course.policies:
        (cell,) = run.cells
        assert [i.mean for i in run.positions] == pytest.approx(cell.returns)
        hard = next(met for met in run.meetings if met.shift == "color_hard")
        assert hard.first.mean.mean == pytest.approx(np.mean(cell.returns[2:4]))
        assert hard.second.mean.mean == pytest.approx(np.mean(cell.returns[6:8]))
        assert run.forgetting.mean.mean == pytest.approx(np.mean(cell.returns[8:]) - np.mean(cell.returns[:2]))
    frozen, adapted = course.policies[:2]
    assert frozen.forgetting.difference is None
    assert adapted.forgetting.difference.mean == pytest.approx(
        adapted.forgetting.mean.mean - frozen.forgetting.mean.mean
    )


def test_a_folder_of_lifelong_runs_or_of_failures_alone_has_a_report_too(tmp_path):
    lifelong = write_results(tmp_path / "lifelong", shifts=(), sequence=SEQUENCE, decisions=10)
    failed = write_results(tmp_path / "failed_only", policies=())
    write_failure(failed, make_cell("walker_walk", "none", "frozen", 0, ["none"]))
    for folder in (lifelong, failed):
        result = make(folder)
        assert result.returncode == 0, result.stderr
        links = [named["href"][1:] for tag, named in read_page(folder)[1].tags if tag == "a"]
        assert set(links) <= set(read_page(folder)[1].ids)


def test_lifelong_runs_enter_no_table_of_single_shifts(folder):
    assert "sequence" not in (folder / "table.csv").read_text()


def test_aggregates_leave_out_what_not_every_policy_was_measured_on(folder, tmp_path):
    whole = report_rows.make_aggregates(read_results(folder).cells)
    assert {(a.shift, a.cells) for a in whole} == {("all shifts", 8), ("none", 4), ("color_hard", 4)}
    shutil.copytree(folder, tmp_path / "part")
    gone = next(c for c in read_results(folder).cells if (c.shift, c.policy) == ("none", "light"))
    (tmp_path / "part" / "cells" / gone.path.name).unlink()
    part = report_rows.make_aggregates(read_results(tmp_path / "part").cells)
    assert {(a.shift, a.cells) for a in part} == {("all shifts", 7), ("none", 3), ("color_hard", 4)}


def change(folder: Path, wanted: dict[str, object], changed: dict[str, object], versions: str = "") -> int:
    """Rewrite the settings of the cells that have all that is wanted; how many they were."""
    found = 0
    for path in (folder / "cells").glob("*.json"):
        record = json.loads(path.read_text())
        if all(record["cell"][name] == value for name, value in wanted.items()):
            record["cell"].update(changed)
            record["measured"]["versions"]["pad"] = versions or record["measured"]["versions"]["pad"]
            path.write_text(json.dumps(record))
            found += 1
    return found


def summary(folder: Path) -> dict[str, str]:
    return {part.about: " ".join(part.lines) for part in report.make_report(read_results(folder)).summary}


def mixture(folder: Path) -> str:
    return summary(folder).get("Mixed", "")


def test_a_policy_that_has_only_begun_takes_nothing_from_what_the_others_are_compared_in(tmp_path):
    write_results(tmp_path, tasks=("walker_walk", "walker_stand"), shifts=("none", "color_hard"), videos=False)
    whole = report_rows.make_aggregates(read_results(tmp_path).cells)
    cell = make_cell("walker_walk", "none", "light", 0, ["none"] * 3)
    write_cell(tmp_path, cell, ["none"] * 3, 20)
    begun = report_rows.make_aggregates(read_results(tmp_path).cells)
    assert [a for a in begun if a.shift != "none"] == [a for a in whole if a.shift != "none"]


def test_aggregates_of_a_part_say_so(tmp_path):
    write_results(tmp_path, tasks=("walker_walk", "walker_stand"), shifts=("none", "color_hard"), videos=False)
    gone = next(c for c in read_results(tmp_path).cells if (c.shift, c.policy) == ("none", "default"))
    gone.path.unlink()
    assert "Over all shifts (3 of 4 cells) the interquartile mean is" in summary(tmp_path)["default"]


def test_cells_that_were_asked_for_and_are_not_there_are_counted(tmp_path):
    write_results(tmp_path, shifts=("none", "color_hard"), videos=False)
    described = {"checkpoints": ["walker_walk"], "shifts": ["none", "color_hard", "video_easy"], "seeds": [0],
                 "policies": ["frozen", "configs/default.yaml"]}  # fmt: skip
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(described))
    missing = summary(tmp_path)["Missing"]
    assert missing.startswith("2 cells asked for, not there: walker_walk, under video_easy, frozen, seed 0")


def test_cells_are_missed_of_each_task_and_of_lives(tmp_path):
    once, life = tmp_path / "once", tmp_path / "life"
    write_results(once, shifts=("none",), videos=False)
    described = {"checkpoints": ["walker_walk"], "tasks": ["walker_walk", "walker_run"], "shifts": ["none"],
                 "seeds": [0], "policies": ["frozen"]}  # fmt: skip
    (once / "benchmark.yaml").write_text(yaml.safe_dump(described))
    assert missing_cells(read_results(once)) == ["walker_walk, on walker_run, under none, frozen, seed 0"]
    write_results(life, shifts=(), sequence=("none", "fog"), videos=False)
    described = {"checkpoints": ["walker_walk"], "sequence": ["none", "fog"], "shifts": [], "seeds": [0, 1],
                 "policies": ["frozen"]}  # fmt: skip
    (life / "benchmark.yaml").write_text(yaml.safe_dump(described))
    assert missing_cells(read_results(life)) == ["walker_walk, frozen, seed 1"]


def test_cells_of_before_and_after_a_training_are_told_apart_and_never_taken_together(tmp_path):
    write_results(tmp_path, shifts=("none", "color_hard"), seeds=(0, 1), videos=False)
    assert mixture(tmp_path) == ""
    assert change(tmp_path, {"shift": "none", "seed": 1}, {"weights": "c" * 64}) == 2
    assert "walker_walk was measured with 2 different weights" in mixture(tmp_path)
    rows = report_rows.make_rows(read_results(tmp_path).cells)
    assert len({row.agent for row in rows}) == 2
    assert not any(row.pooled for row in rows)


def test_what_was_not_the_same_for_all_cells_is_said(tmp_path):
    write_results(tmp_path, shifts=("none", "color_hard"), videos=False)
    change(tmp_path, {"policy": "default", "shift": "none"}, {"adaptation": {"moves": "affine"}}, versions="0.2.0")
    assert "default stands for 2 different settings." in mixture(tmp_path)
    assert "Not the same for all cells: pad." in mixture(tmp_path)


def test_no_episode_counts_twice_in_what_is_told_of_all(tmp_path):
    write_results(tmp_path, shifts=("none", "color_hard"), tasks=("walker_walk", "walker_stand"), videos=False)
    whole = report_rows.make_aggregates(read_results(tmp_path).cells)
    for policy in ("frozen", "default"):
        write_cell(tmp_path, make_cell("walker_walk", "none", policy, 0, ["none"] * 5), ["none"] * 5, 20)
    assert report_rows.make_aggregates(read_results(tmp_path).cells) == whole
    assert "2 cells measured in another way than most" in mixture(tmp_path)


def test_episodes_of_one_life_are_not_drawn_again_as_if_they_were_many(tmp_path):
    write_results(tmp_path, shifts=(), sequence=SEQUENCE, videos=False)
    change(tmp_path, {"policy": "default"}, {"adaptation": {"reset": "never"}})
    (course,) = report_lifelong.make_courses(read_results(tmp_path).cells)
    of = {run.policy: run for run in course.policies}
    assert not np.isfinite(of["default"].overall.difference.low)
    assert "[" not in of["default"].overall.difference.format("+")
    assert np.isfinite(of["frozen"].overall.mean.low)


def test_a_cell_that_lacks_episodes_is_no_whole_one(tmp_path):
    write_results(tmp_path, videos=False)
    path = next((tmp_path / "cells").glob("*.json"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "episodes": record["episodes"][:2]}))
    with pytest.raises(cli.BadInput, match="it has 2 of 3 episodes"):
        read_results(tmp_path)


@pytest.mark.slow
def test_a_run_beside_the_report_holds_its_table_and_figures(small):
    result = call(f"report.py {small} --wandb offline", small.parent)
    assert result.returncode == 0, result.stderr
    (run,) = (small.parent / "runs" / "report").iterdir()
    metrics = json.loads((run / "metrics.jsonl").read_text())
    assert metrics["cells"] == 4
    assert 0 <= metrics["all shifts/default_probability_of_improvement"] <= 1
    (media,) = run.glob("wandb/offline-run-*/files/media")
    (table,) = media.glob("table/*.json")
    assert len(json.loads(table.read_text())["data"]) == 4
    assert list(media.glob("images/figures/iqm*.png"))


BAD = {
    "half-written": ("cells/half.json cannot be read, perhaps it is half-written", '{"id": "x", "cell": {'),
    "incomplete": ("cells/half.json is not a cell of a benchmark: it lacks 'episodes'", '{"id": "x", "cell": {}}'),
    "empty": ("cells/half.json is not a cell of a benchmark: it has no episodes", None),
    "text": ("cells/half.json cannot be read, perhaps it is half-written: expected names and values, got list", "[]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_file_is_named_in_one_line(small, kind):
    message, content = BAD[kind]
    record = json.loads(next((small / "cells").glob("*.json")).read_text())
    (small / "cells" / "half.json").write_text(content or json.dumps({**record, "episodes": []}))
    check_refused(make(small), message)
    assert not (small / "report.html").exists()


def test_arms_that_met_other_episodes_are_refused(small):
    path = next(p for p in (small / "cells").glob("*.json") if '"default"' in p.read_text())
    record = json.loads(path.read_text())
    record["episodes"].reverse()
    path.write_text(json.dumps(record))
    check_refused(make(small), "are arms of one comparison, but met other episodes")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("report.py nowhere", "no folder nowhere"),
        ("report.py empty", "empty holds no results"),
        ("report.py", "takes the folder of a benchmark's results"),
        ("report.py results --max-megabytes 0", "max_megabytes must be positive and finite, got 0"),
        ("report.py results --output results", "results is a folder; name a file"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(small, command, message):
    (small.parent / "empty").mkdir()
    check_refused(call(command, small.parent), message)


def check_refused(result, message: str) -> None:
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in result.stderr


def test_a_cell_without_shifts_of_ones_own_is_written_as_before_there_were_any():
    cell = Cell("walker_walk", "walker_walk", "none", "frozen", 0, 3, envs.EnvConfig("walker_walk"), None, "weights")
    other = dataclasses.replace(cell, code="1")
    assert "code" not in Result(cell, [], {}).to_dict()["cell"]
    assert "code" in Result(other, [], {}).to_dict()["cell"]
    assert cell.id != other.id


def test_a_shift_of_ones_own_does_not_keep_agents_apart(small):
    for name in ("walker_walk", "runs/walker_2"):
        for policy in ("frozen", "default"):
            cell = make_cell("walker_walk", "mine", policy, 0, ["mine"] * 3, name)
            write_cell(small, {**cell, "code": "1"}, ["mine"] * 3, 10)
            if name != "walker_walk":
                write_cell(small, make_cell("walker_walk", "none", policy, 0, ["none"] * 3, name), ["none"] * 3, 10)
    rows = report_rows.make_rows(read_results(small).cells)
    assert {(row.shift, row.seeds) for row in rows if row.pooled} == {("none", 2), ("mine", 2)}
