"""A contract as a table of clauses: each is checked, and all broken ones are named together."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

__all__ = ["Breach", "Clause", "ContractError", "examine"]

Trial = TypeVar("Trial")

Breach = tuple[str, str]
"""What was found, and what to do about it."""


@dataclass(frozen=True)
class Clause(Generic[Trial]):
    """One demand of a contract.

    Attributes:
        name: A word or two that it is called by.
        wants: The demand, as a sentence.
        check: Yields every breach that it finds.
        essential: Whether later clauses cannot be checked if it is broken.
    """

    name: str
    wants: str
    check: Callable[[Trial], Iterator[Breach]]
    essential: bool = False


class ContractError(AssertionError):
    """Says, for every broken clause, what the contract wants, what was found and what to do.

    Attributes:
        broken: The names of the broken clauses, in order.
    """

    def __init__(self, message: str, broken: tuple[str, ...]) -> None:
        super().__init__(message)
        self.broken = broken


def examine(trial: Trial, clauses: Sequence[Clause[Trial]], subject: str, contract: str) -> None:
    """Checks one clause after the other, and that none of them changes a random state that the process shares.

    Args:
        trial: What the checks are given.
        clauses: The contract.
        subject: What is examined, for the message.
        contract: Whose contract it is, for the message.

    Raises:
        ContractError: A clause is broken. An exception during a check counts as a breach; the first one is the cause
            of this error.
    """
    broken: dict[str, tuple[str, list[Breach]]] = {}
    disturbed: dict[str, list[str]] = {}
    errors: list[Exception] = []
    unchecked = list(clauses)
    while unchecked:
        clause, before = unchecked.pop(0), _random_states()
        breaches: list[Breach] = []
        try:
            with warnings.catch_warnings():
                # A clause says it, with its remedy.
                warnings.filterwarnings("ignore", message=".* has no absorbing_reward")
                for found, remedy in clause.check(trial):
                    breaches.append((found, remedy))
        except Exception as error:
            errors.append(error)
            breaches.append((_described(error), "see the exception above, which this one follows from."))
        for library, state in _random_states().items():
            if state != before[library]:
                disturbed.setdefault(library, []).append(clause.name)
        if breaches:
            broken[clause.name] = clause.wants, breaches
            if clause.essential:
                break
    if disturbed:
        broken["random state"] = (
            "The random states that a whole process shares are left as they were.",
            [_moved(*item) for item in disturbed.items()],
        )
    if broken:
        message = _message(broken, subject, contract, len(unchecked))
        raise ContractError(message, tuple(broken)) from (errors[0] if errors else None)


def _moved(library: str, during: list[str]) -> Breach:
    return (
        f"that of {library} moved while this was checked: {', '.join(during)}.",
        "draw from a generator of its own, seeded by its seed (torch.Generator, numpy.random.default_rng); around code "
        "that draws from PyTorch's own, put torch.random.fork_rng.",
    )


def _random_states() -> dict[str, Any]:
    """The state of each library, comparable by ``==``."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 -- it is looked at, not drawn from
    return {
        "PyTorch": torch.random.get_rng_state().numpy().tobytes(),
        "NumPy": (numpy["state"]["key"].tobytes(), numpy["state"]["pos"]),
    }


def _described(error: Exception) -> str:
    """The exception, and where in the examined code it came up."""
    own = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != own]
    where = f"{frames[0].name} ({Path(frames[0].filename).name}, line {frames[0].lineno})" if frames else "the check"
    return f"{where} raised {type(error).__name__}: {error}"


def _message(broken: Mapping[str, tuple[str, list[Breach]]], subject: str, contract: str, unchecked: int) -> str:
    count = "1 clause" if len(broken) == 1 else f"{len(broken)} clauses"
    lines = [f"{subject} breaks {count} of the contract of {contract}."]
    said: set[str] = set()
    for number, (name, (wants, breaches)) in enumerate(broken.items(), start=1):
        lines.append(f"\n{number}. {name}: {wants}")
        for found, remedy in breaches:
            if found in said:
                lines.append("   Found: the same as above.")
            else:
                lines += [f"   Found: {found}", f"   Do: {remedy}"]
            said.add(found)
    if unchecked:
        lines.append(f"\nWhat comes after, {unchecked} more, can be checked once this is mended.")
    return "\n".join(lines)
