"""What is shown of a case, and what is to be reached: a figure, or its ratio to a peer's in the same
round."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Column:
    figure: str
    heading: str
    form: str

    def median(self, rounds, name):
        """What stands in its cell: the median of all rounds, or nothing."""
        values = [figures[name].get(self.figure) for figures in rounds if name in figures]
        values = [value for value in values if value is not None]
        return self.form.format(statistics.median(values)) if values else ""


@dataclasses.dataclass(frozen=True)
class Target:
    figure: str
    # Whose figure ours is divided by; None: ours as it is.
    against: str | None
    must: float
    goal: float | None = None

    def measured(self, rounds, name):
        """The median, or None where there is nothing to compare with."""
        values = ratios(rounds, name, self.against, self.figure)
        return statistics.median(values) if values else None

    def verdict(self, rounds, name):
        value = self.measured(rounds, name)
        if value is None:
            return None
        unit = f" × {self.against}" if self.against else ""
        text = f"{self.figure} {value:.2f}{unit}: must ≤ {self.must:g}, {reached(value, self.must)}"
        if self.goal is not None:
            text += f"; goal ≤ {self.goal:g}, {reached(value, self.goal)}"
        return text


def reached(value, bound):
    return "reached" if value <= bound else "not reached"


def ratios(rounds, name, against, figure):
    """For each round that has both: the figure of one to that of the other."""
    found = []
    for figures in rounds:
        ours = figures.get(name, {}).get(figure)
        theirs = figures.get(against, {}).get(figure) if against else 1
        if ours is not None and theirs:
            found.append(ours / theirs)
    return found
