"""The diagnosis while steps are taken: rules that are sure early, each said once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgegd.report.diagnosis import RULES, diagnose
from edgegd.report.diagnosis.facts import Facts

FIRST, LAST = 64, 448
"""The lines that are kept: a long descent must neither fill the memory with them nor wait for the rules."""
EVERY = 8
"""Steps between two looks, beside those at each step that was looked at closely."""


class Watch:
    """Sees every line of a descent as it is written, and says what the early rules find.

    `start` are the facts before the first step, `say` takes a line of text. It changes no line.
    """

    def __init__(self, start: Facts, say: Callable[[str], Any], lines: Iterable[Mapping[str, Any]] = ()) -> None:
        """`lines` are those of a descent that goes on; what there was to say of them has been said."""
        self._start, self._say = start, say
        self._first: list[Mapping[str, Any]] = []
        self._last: list[Mapping[str, Any]] = []
        self._rules = tuple(rule for rule in RULES if rule.early)
        for line in lines:
            self._keep(line)
        if self._first:
            self._found()

    def see(self, line: Mapping[str, Any]) -> None:
        """A line was written."""
        self._keep(line)
        if line["loss"] is None or "detail" in line or line["step"] % EVERY == 1:
            try:
                for finding in self._found():
                    self._say(f"step {line['step']}: {finding['sentence']} {finding['change']}")
            except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
                self._rules = ()  # whatever is wrong with a rule, the training goes on
                self._say(f"the diagnosis stops watching: {type(error).__name__}: {error}")

    def _keep(self, line: Mapping[str, Any]) -> None:
        rows = self._first if len(self._first) < FIRST else self._last
        rows.append(line)
        if len(self._last) > LAST:
            del self._last[0]

    def _found(self) -> list[dict[str, Any]]:
        found = diagnose(replace(self._start, rows=[*self._first, *self._last]), self._rules)
        said = {finding["rule"] for finding in found}
        self._rules = tuple(rule for rule in self._rules if said.isdisjoint((rule.name, *rule.unless)))
        return found
