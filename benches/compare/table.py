"""Tables of what was measured: for a terminal, and in Markdown. Knows nothing of how."""

from targets import ratios

import statistics

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
        for figures in rounds:
            unexpected = figures.get(name, {}).get("unexpected")
            if unexpected:
                yield f"{name}: unexpected: {unexpected}"
            late = figures.get(name, {}).get("late")
            if late:
                yield f"{name}: {late:,} requests were sent late"


def markdown(cases, measured, ours):
    text = []
    for case in cases:
        rounds = measured[case.name]
        headings, lines = rows(case, rounds, ours)
        text += [f"**{case.title[0].upper()}{case.title[1:]}**", ""]
        text += [line_of(headings), "|" + " --- |" + " ---: |" * (len(headings) - 1)]
        text += [line_of(line) for line in lines]
        text += ["", *(f"- {note}" for note in notes(case, rounds, ours)), ""]
    return "\n".join(text)


def line_of(cells):
    return "| " + " | ".join(cells) + " |"
