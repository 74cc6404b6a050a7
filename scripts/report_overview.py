"""A benchmark's results in a few small tables, for documents."""

from collections.abc import Sequence

from report_lifelong import Course, Paired, make_courses
from report_rows import Row, make_rows, name_agents
from report_tables import escape_markdown
from results_folder import FROZEN, ResultsFolder

from pad.statistics import format_change


def make_overview(folder: ResultsFolder) -> str:
    """Markdown: all its tables, below the commands that made them."""
    commands = ", ".join(f"`{command}`" for command in _measured(folder, "command"))
    hardware = "; ".join(_measured(folder, "hardware"))
    return f"{commands} ({hardware})\n\n{make_tables(folder)}"


def make_tables(folder: ResultsFolder) -> str:
    """Markdown: a table for each adapting policy and one for each lifelong run."""
    tables = [_table(make_rows(folder.cells), policy) for policy in _policies(folder)]
    courses = [_life(course) for course in make_courses(folder.cells)]
    return "\n\n".join([*filter(None, tables), *courses])


def _policies(folder: ResultsFolder) -> list[str]:
    plain = [cell.policy for cell in folder.cells if cell.sequence is None]
    return [policy for policy in dict.fromkeys(plain) if policy != FROZEN]


def _measured(folder: ResultsFolder, name: str) -> list[str]:
    """What the cells say they were measured with or on, each once."""
    return list(dict.fromkeys(str(cell.measured[name]) for cell in folder.cells if name in cell.measured))


def _table(rows: Sequence[Row], policy: str) -> str:
    """A row for each agent, a column for each shift: frozen, adapted, and the paired difference."""
    names = name_agents(rows)
    met = {(names[row.task, row.agent], row.shift): row for row in rows if row.policy == policy and not row.pooled}
    agents, shifts = (list(dict.fromkeys(key[index] for key in met)) for index in (0, 1))
    episodes = sorted({row.episodes for row in met.values()})
    heads = [f"{policy}, {'/'.join(map(str, episodes))} episodes", *map(escape_markdown, shifts)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for agent in agents:
        texts = [_difference(met[agent, shift]) if (agent, shift) in met else "" for shift in shifts]
        lines.append(f"| {escape_markdown(agent)} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _difference(row: Row) -> str:
    c = row.comparison
    if c is None:
        return str(row.mean)
    return format_change(c.frozen, c.adapted, c.difference)


def _life(course: Course) -> str:
    """A row for each policy: its mean, each shift's two meetings, and what it forgot."""
    shifts = [met.shift for met in course.policies[0].meetings]
    heads = [course.agent, "all episodes", *[f"{shift}, first / again" for shift in shifts], "forgetting"]
    lines = [f"| {' | '.join(map(escape_markdown, heads))} |", "|---" * len(heads) + "|"]
    for policy in course.policies:
        meetings = [
            f"{met.first.mean.mean:.0f} / {'–' if met.second is None else f'{met.second.mean.mean:.0f}'}"
            for met in policy.meetings
        ]
        forgotten = "–" if policy.forgetting is None else _paired(policy.forgetting)
        name = escape_markdown(policy.policy)
        lines.append(f"| {name} | {_paired(policy.overall)} | {' | '.join(meetings)} | {forgotten} |")
    return "\n".join(lines)


def _paired(value: Paired) -> str:
    if value.difference is None:
        return f"{value.mean.mean:.0f}"
    return f"{value.mean.mean:.0f} ({value.difference.format('+')})"
