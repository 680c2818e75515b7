"""Tables of what was measured: for a terminal, and in Markdown. Knows nothing of how."""

import collections
import statistics

from targets import Column, ratios

AGAINST = ["haproxy", "nginx"]


def names_of(rounds):
    """In the order in which they were asked first."""
    return list(dict.fromkeys(name for figures in rounds for name in figures))


def compared(rounds, name, against, metric):
    """The median ratio, and in between which it lay."""
    found = ratios(rounds, name, against, metric)
    if not found or name == against:
        return ""
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def rows(case, rounds, ours):
    """Headings, and a row for each contestant."""
    names = names_of(rounds)
    # Builds of our own are compared with the first of them, too.
    against = [name for name in [*AGAINST, *ours[:1]] if name in names]
    if len(ours) < 2:
        against = [name for name in against if name not in ours]
    headings = ["", *(column.heading for column in case.columns)]
    headings += [f"× {name}" for name in against] + ["limited by"]
    lines = []
    for name in names:
        cells = [column.median(rounds, name) for column in case.columns]
        cells += [compared(rounds, name, other, case.metric) for other in against]
        limits = {figures[name].get("limit", "") for figures in rounds if name in figures}
        lines.append([name, *cells, ", ".join(sorted(limits))])
    return headings, lines


def plain(case, rounds, ours):
    headings, lines = rows(case, rounds, ours)
    widths = [max(len(line[column]) for line in [headings, *lines]) for column in range(len(headings))]
    text = [f"{case.name}: {case.title}, medians of {len(rounds)}"]
    for line in [headings, *lines]:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        text.append("  " + "  ".join(cells).rstrip())
    text += [f"  {note}" for note in notes(case, rounds, ours)]
    return "\n".join(text) + "\n"


def notes(case, rounds, ours):
    """What is to be reached, and what was not to happen."""
    for name in ours:
        for target in case.targets:
            verdict = target.verdict(rounds, name)
            if verdict:
                yield f"{name}: {verdict}"
    for name in names_of(rounds):
        unexpected, late = collections.Counter(), 0
        for figures in rounds:
            found = figures.get(name, {})
            unexpected.update(found.get("unexpected", {}))
            late += found.get("late", 0)
        if unexpected:
            what = ", ".join(f"{count:,} × {what}" for what, count in unexpected.items())
            yield f"{name}: unexpected: {what}"
        if late:
            yield f"{name}: {late:,} requests were sent late"


def markdown(cases, measured, ours):
    """One row for each case that is about CPU time, the same for what of it is the kernel's and for rates;
    the others in full."""
    by_cpu = [case for case in cases if case.metric == "cpu_us"]
    parts = []
    for figure, form, title in (
        ("cpu_us", "{:,.2f}", "CPU µs per request"),
        ("kernel", "{:.0%}", "Of it the kernel's"),
        ("rate", "{:,.0f}", "Requests a second"),
    ):
        if by_cpu:
            parts.append(matrix(by_cpu, measured, ours, Column(figure, title, form)))
    for case in cases:
        if case not in by_cpu:
            headings, lines = rows(case, measured[case.name], ours)
            parts.append(heading_of(case.title) + grid(headings, lines))
    found = [f"- {case.name}: {note}" for case in cases for note in notes(case, measured[case.name], ours)]
    return "\n\n".join(parts + ["\n".join(found)])


def matrix(cases, measured, ours, column):
    """Cases by contestants, and how the first build of ours compares."""
    names = list(dict.fromkeys(name for case in cases for name in names_of(measured[case.name])))
    if column.figure != "rate":
        names = [name for name in names if name != "direct"]
    against = [name for name in AGAINST if ours and name in names]
    if column.figure == "kernel":
        against = []
    lines = []
    for case in cases:
        rounds = measured[case.name]
        cells = [column.median(rounds, name) for name in names]
        cells += [compared(rounds, ours[0], other, column.figure) for other in against]
        lines.append([case.title, *cells])
    headings = [column.heading, *names, *(f"{ours[0]} × {name}" for name in against)]
    return grid(headings, lines)


def heading_of(title):
    return f"**{title[0].upper()}{title[1:]}**\n\n"


def grid(headings, lines):
    between = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [headings, between, *lines])
