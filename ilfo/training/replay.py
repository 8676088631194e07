"""Replay: the transitions that an agent learns from, on its device, each observation stored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.devices import to_device
from ilfo._tools.errors import InputError
from ilfo.agents import Batch
from ilfo.training.priorities import Priorities

__all__ = ["Replay"]

SPARE_ROWS = 16_384
"""Rows for the first observations of episodes, beside one row a transition; a 64th of the capacity if that is more."""


class Replay:
    """Rings of transitions, preallocated on one device and sampled with replacement, uniformly or by priorities.

    A step adds one row to a ring of observations, and the first step of an episode two; a transition is an action, a
    reward, a termination mark, and the indices of two rows. Episodes of several streams (copies of an environment) may
    arrive interleaved. The indices live in host memory, so neither adding nor sampling waits for a device.

    With a list of ``S`` seeds it is that many replays at once: each has its own content and draws what it would draw
    alone, and batches gain a leading dimension ``S``.

    Args:
        capacity: Most transitions held, by each seed; beyond it, the oldest are dropped. Where episodes are so short
            that the spare rows do not suffice for their first observations (fewer than 64 steps on average, in a ring
            of a million), somewhat fewer are held.
        observation_dim: Width ``D``.
        action_dim: Width ``A``.
        device: Where the arrays live and batches are made.
        seed: Seed of the sampling, or a list of seeds.
        streams: Episodes of one seed that may be under way at the same time.
        refresh_priorities_every: 0: all transitions are equally likely. ``N``: they are drawn by priorities, and new
            ones get the largest, which is measured anew every ``N`` updates; see :class:`Priorities`.

    Attributes:
        capacity: As given.
        device: As given.
        members: Number of seeds ``S``.
        streams: As given.

    Raises:
        InputError: There is not enough memory; all of it is allocated at once.
    """

    def __init__(
        self,
        capacity: int,
        observation_dim: int,
        action_dim: int,
        *,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] = 0,
        streams: int = 1,
        refresh_priorities_every: int = 0,
    ) -> None:
        if not 1 <= streams <= capacity:
            raise InputError(
                f"{streams} environments step at once into a replay of {capacity} transitions: raise --replay-size or "
                "lower --num-envs"
            )
        self.capacity, self.streams, self.device = capacity, streams, torch.device(device)
        seeds = [seed] if isinstance(seed, int) else list(seed)
        self.members = len(seeds)
        self._shape = () if isinstance(seed, int) else (self.members,)
        # Between two steps of a stream each stream writes two rows at most, in this step of theirs or in the next.
        self._longest_lag = 4 * streams
        self._num_rows = capacity + max(min(capacity, SPARE_ROWS), capacity // 64) + self._longest_lag
        self._widths = observation_dim, action_dim
        self._allocate()
        self._priorities = (
            Priorities(self.members, capacity, refresh_priorities_every, device) if refresh_priorities_every else None
        )
        self._drawn: tuple[list[int], Tensor] | None = None
        self._generators = [torch.Generator().manual_seed(one) for one in seeds]
        self._rows_written = np.zeros(self.members, np.int64)
        self._steps_written = np.zeros(self.members, np.int64)
        self._sizes = np.zeros(self.members, np.int64)
        self._open = np.full((self.members, streams), -1, np.int64)  # number of the newest row of an open episode

    def _allocate(self) -> None:
        rows, steps = (self.members, self._num_rows), (self.members, self.capacity)
        number = torch.int32 if self.members * self._num_rows < 2**31 else torch.int64
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype, torch.device]] = {
            "observations": ((*rows, self._widths[0]), torch.float32, self.device),
            "actions": ((*steps, self._widths[1]), torch.float32, self.device),
            "rewards": (steps, torch.float32, self.device),
            "terminated": (steps, torch.bool, self.device),
            "links": ((2, *steps), number, torch.device("cpu")),
        }
        wanted = sum(int(np.prod(shape, dtype=float)) * dtype.itemsize for shape, dtype, _ in shapes.values())
        try:
            # Filled, because the memory of untouched pages is only promised, and may not exist.
            self._arrays = {
                name: torch.empty(shape, dtype=dtype, device=device).fill_(0)
                for name, (shape, dtype, device) in shapes.items()
            }
        except RuntimeError as error:
            seeds = f" for each of {self.members} seeds" if self.members > 1 else ""
            raise InputError(
                f"the replay wants {wanted:,} bytes on {self.device} for {self.capacity:,} transitions{seeds}, and "
                f"cannot have them: lower --replay-size{' or train fewer seeds at once' if seeds else ''} "
                f"({str(error).splitlines()[0]})"
            ) from error
        links = self._arrays.pop("links")
        self._arrays["before"], self._arrays["after"] = links
        self._before, self._after = links.numpy()
        self._flat_links = links.flatten(1)
        self._flat = {name: array.flatten(0, 1) for name, array in self._arrays.items()}
        members = torch.arange(self.members, dtype=number)[:, None]
        self._first_rows, self._first_slots = members * self._num_rows, members * self.capacity

    def __len__(self) -> int:
        """Transitions that every seed holds: the fewest of :attr:`sizes`."""
        return int(self._sizes.min())

    @property
    def sizes(self) -> list[int]:
        """Transitions held, by each seed."""
        return [int(size) for size in self._sizes]

    @property
    def num_bytes(self) -> int:
        """Bytes of all the arrays."""
        return sum(array.nbytes for array in self._arrays.values())

    def extend(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        terminated: bool,
        ended: bool,
        *,
        stream: int = 0,
        member: int = 0,
    ) -> None:
        """Adds ``T`` steps of one stream: a whole episode, or what follows the steps that it added last.

        Args:
            observations: ``(T+1, D)``. While an episode is open, the first one is the last that was stored, and is not
                stored again, unless that is so old that it would soon be overwritten.
            actions: ``(T, A)``.
            rewards: ``(T,)``.
            terminated: Nothing follows the last observation.
            ended: The episode is over, by termination or by a time limit; the stream's next steps open another.
            stream: Which stream.
            member: Index of the seed.

        Raises:
            InputError: The lengths do not fit together.
        """
        if not len(observations) - 1 == len(actions) == len(rewards) > 0:
            raise InputError(
                f"{len(observations)} observations, {len(actions)} actions and {len(rewards)} rewards do not make an "
                "episode: expected T+1, T and T, with T at least 1"
            )
        if len(actions) > self.capacity:
            observations, actions = observations[-self.capacity - 1 :], actions[-self.capacity :]
            rewards = rewards[-self.capacity :]
            self._open[member, stream] = -1
        steps = len(actions)
        written, newest = int(self._rows_written[member]), int(self._open[member, stream])
        fresh = newest < 0 or written - newest > self._longest_lag
        after = np.arange(written + fresh, written + fresh + steps)
        before = after - 1
        if not fresh:
            before[0] = newest
        new_rows = np.arange(written, written + fresh + steps) % self._num_rows + member * self._num_rows
        self._make_room(member, steps, steps + fresh)
        slots = np.arange(steps) + self._steps_written[member]
        slots %= self.capacity
        self._before[member, slots] = before % self._num_rows
        self._after[member, slots] = after % self._num_rows
        self._advance(member, steps, steps + fresh)
        self._open[member, stream] = -1 if ended else after[-1]
        marks = torch.zeros(steps, dtype=torch.bool)
        marks[-1] = terminated
        self._put(new_rows, observations=observations[0 if fresh else 1 :])
        self._put(slots + member * self.capacity, actions=actions, rewards=rewards, terminated=marks)
        self._enter(slots + member * self.capacity)

    def append(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        next_observations: Tensor,
        terminated: Tensor,
        ended: np.ndarray,
    ) -> None:
        """Adds one step of every stream of every seed, at once; the same as a step by :meth:`extend` for each in turn.

        All arguments have ``S * N`` rows, the ``N`` streams of the first seed first.

        Args:
            observations: ``(S*N, D)``.
            actions: ``(S*N, A)``.
            rewards: ``(S*N,)``.
            next_observations: ``(S*N, D)``; of an ended episode the final one, never the next reset's.
            terminated: ``(S*N,)`` bool.
            ended: ``(S*N,)`` bool: the episode is over, by termination or by a time limit.
        """
        members = np.arange(self.members)[:, None]
        written = self._rows_written[:, None]
        fresh = (self._open < 0) | (written - self._open > self._longest_lag // 2)
        after = written + np.cumsum(1 + fresh, axis=1) - 1
        before = np.where(fresh, after - 1, self._open)
        num_rows = self.streams + fresh.sum(axis=1)
        for member in range(self.members):
            self._make_room(member, self.streams, int(num_rows[member]))
        slots = (self._steps_written[:, None] + np.arange(self.streams)) % self.capacity
        self._before[members, slots] = before % self._num_rows
        self._after[members, slots] = after % self._num_rows
        for member in range(self.members):
            self._advance(member, self.streams, int(num_rows[member]))
        self._open = np.where(ended.reshape(self._open.shape), -1, after)
        first_rows = members * self._num_rows
        if fresh.any():
            starts = torch.from_numpy(fresh.reshape(-1).nonzero()[0])
            starts = to_device(starts, self.device) if observations.is_cuda else starts
            rows = (before % self._num_rows + first_rows)[fresh]
            self._put(rows, observations=observations.index_select(0, starts))
        self._put((after % self._num_rows + first_rows).reshape(-1), observations=next_observations)
        slots += members * self.capacity
        self._put(slots.reshape(-1), actions=actions, rewards=rewards, terminated=terminated)
        self._enter(slots.reshape(-1))

    def _make_room(self, member: int, steps: int, rows: int) -> None:
        """Drops the oldest transitions: those beyond the capacity, and those whose rows will be overwritten."""
        size = min(int(self._sizes[member]), self.capacity - steps)
        written, after = int(self._rows_written[member]), self._after[member]
        oldest_allowed = self._num_rows - self._longest_lag - rows
        while size > 0:
            slot = (int(self._steps_written[member]) - size) % self.capacity
            if (written - int(after[slot])) % self._num_rows <= oldest_allowed:
                break
            size -= 1
        if self._priorities is not None and size < self._sizes[member]:
            gone = np.arange(int(self._sizes[member]) - size) + int(self._steps_written[member] - self._sizes[member])
            self._priorities.leave(to_device(gone % self.capacity + member * self.capacity, self.device))
        self._sizes[member] = size

    def _advance(self, member: int, steps: int, rows: int) -> None:
        self._steps_written[member] += steps
        self._rows_written[member] += rows
        self._sizes[member] += steps

    def _enter(self, places: np.ndarray) -> None:
        if self._priorities is not None:
            self._priorities.enter(to_device(places, self.device))

    def _put(self, places: np.ndarray, **columns: Tensor) -> None:
        """Writes rows of the columns to places that are numbered through all the seeds."""
        index = to_device(places, self.device)
        for name, values in columns.items():
            column = self._flat[name]
            column.index_copy_(0, index, to_device(values, self.device).to(column.dtype))

    def sample(self, batch_size: int, member: int | None = None) -> Batch:
        """Draws ``batch_size`` transitions: ``(B, D)`` and so on, or ``(S, B, D)`` for a list of seeds.

        Args:
            batch_size: How many.
            member: Index of the one seed to draw for, as if it were alone; by default all.

        Raises:
            IndexError: Nothing has been added yet, for some seed.
        """
        members = list(range(self.members)) if member is None else [member]
        if not all(self._sizes[members]):
            raise IndexError("the replay is empty: add transitions before sampling")
        draw = self._draw_uniformly if self._priorities is None else self._draw_by_priority
        slots = draw(members, batch_size)
        if self.members > 1:
            slots = slots + self._first_slots[members]
        shape = (*self._shape, batch_size) if member is None else (batch_size,)
        return self._gather(slots, self._first_rows[members], shape)

    def _draw_uniformly(self, members: list[int], batch_size: int) -> Tensor:
        """Slots ``(M, B)``, each counted within its seed's ring."""
        slots = torch.empty((len(members), batch_size), dtype=torch.int64)
        for drawn, member in zip(slots, members, strict=True):
            size, oldest = int(self._sizes[member]), self._oldest(member)
            torch.randint(size, (batch_size,), generator=self._generators[member], out=drawn)
            if oldest and size < self.capacity:  # of a full ring every slot will do
                drawn.add_(oldest).remainder_(self.capacity)
        return slots

    def _draw_by_priority(self, members: list[int], batch_size: int) -> Tensor:
        assert self._priorities is not None
        uniform = [
            torch.rand(batch_size, generator=self._generators[member], dtype=torch.float64) for member in members
        ]
        slots = self._priorities.draw(members, self._ever_filled(members), to_device(torch.stack(uniform), self.device))
        self._drawn = members, slots
        return slots.cpu()  # the indices of rows live in host memory

    def _ever_filled(self, members: list[int]) -> int:
        return min(int(self._steps_written[members].max()), self.capacity)

    def update_priorities(self, priorities: Tensor) -> None:
        """Gives the transitions of the last batch their new priorities ``(B,)``, or ``(S, B)`` for a list of seeds.

        Raises:
            RuntimeError: Nothing was drawn by priorities before.
        """
        if self._priorities is None or self._drawn is None:
            raise RuntimeError("nothing was drawn by priorities: sample first, from a replay that keeps them")
        members, slots = self._drawn
        self._priorities.update(members, slots, priorities.view(slots.shape), self._ever_filled(members))

    def contents(self, member: int = 0) -> Batch:
        """All the transitions that a seed holds, oldest first, ``(n, D)`` and so on."""
        size, oldest = int(self._sizes[member]), self._oldest(member)
        slots = torch.arange(oldest, oldest + size) % self.capacity + self._first_slots[member]
        return self._gather(slots, self._first_rows[member], (size,))

    def _oldest(self, member: int) -> int:
        """Slot of the oldest transition."""
        return int(self._steps_written[member] - self._sizes[member]) % self.capacity

    def _gather(self, slots: Tensor, first_rows: Tensor, shape: tuple[int, ...]) -> Batch:
        """The transitions in slots that are numbered through all the seeds."""
        rows = self._flat_links.index_select(1, slots.view(-1)).view(2, *slots.shape)
        if self.members > 1:
            rows += first_rows
        slots, rows = to_device(slots.view(-1), self.device), to_device(rows.view(-1), self.device)
        observations, next_observations = (
            self._flat["observations"].index_select(0, rows).view(2, *shape, self._widths[0]).unbind()
        )
        return Batch(
            observations=observations,
            actions=self._flat["actions"].index_select(0, slots).view(*shape, self._widths[1]),
            rewards=self._flat["rewards"].index_select(0, slots).view(shape),
            next_observations=next_observations,
            terminated=self._flat["terminated"].index_select(0, slots).view(shape).float(),
        )

    def state_dicts(self) -> list[dict[str, Any]]:
        """The filled part of each seed's arrays, the write positions and the sampling generator.

        On the CPU the tensors are the replay's own memory, without a copy: save them before adding more.
        """
        return [self._state_dict(member) for member in range(self.members)]

    def _state_dict(self, member: int) -> dict[str, Any]:
        filled = self._filled(int(self._rows_written[member]), int(self._steps_written[member]))
        # By way of NumPy, so that a tensor's storage ends where the filled part does: torch.save writes whole storages.
        arrays = {
            name: torch.from_numpy(self._arrays[name][member, :end].cpu().numpy()) for name, end in filled.items()
        }
        return {
            "arrays": arrays,
            "capacity": self.capacity,
            "rows_written": int(self._rows_written[member]),
            "steps_written": int(self._steps_written[member]),
            "size": int(self._sizes[member]),
            "open": self._open[member].tolist(),
            "generator": self._generators[member].get_state(),
            "priorities": self._priorities and self._priorities.state_dict(member, self._ever_filled([member])),
        }

    def _filled(self, rows_written: int, steps_written: int) -> dict[str, int]:
        """How much of each array has been written to, from its beginning."""
        rows, steps = min(rows_written, self._num_rows), min(steps_written, self.capacity)
        return {name: rows if name == "observations" else steps for name in self._arrays}

    def load_state_dicts(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restores what :meth:`state_dicts` returned, also of a smaller replay that was never full.

        Raises:
            InputError: It is the state of another replay: a full one of another size, or of other streams or seeds.
        """
        for state in states:
            found = (len(states), len(state["open"]), state["capacity"])
            expected = (self.members, self.streams, self.capacity)
            # Until a ring is full it is the beginning of any larger one.
            grows = state["capacity"] < self.capacity and _never_full(state)
            short = not grows and len(state["arrays"]["actions"]) == state["steps_written"]
            if found[:2] == expected[:2] and found[2] < expected[2] and short:
                raise InputError(
                    f"the saved replay, of {found[2]:,} transitions, was full of episodes so short that its oldest "
                    f"transitions were overwritten, which one of {expected[2]:,} would still hold: such a run cannot "
                    "be made longer; begin one of that length in another --out"
                )
            if found[:2] != expected[:2] or not (found[2] == expected[2] or grows):
                raise InputError(
                    "the saved replay has {} seed(s), {} stream(s) and a capacity of {:,}; expected {}, {} and {:,}: "
                    "go on with the --seeds, --num-envs, --replay-size and --steps of the run".format(*found, *expected)
                )
        for member, state in enumerate(states):
            for name, end in self._filled(state["rows_written"], state["steps_written"]).items():
                self._arrays[name][member, :end] = state["arrays"][name]
            self._rows_written[member] = state["rows_written"]
            self._steps_written[member] = state["steps_written"]
            self._sizes[member] = state["size"]
            self._open[member] = np.asarray(state["open"])
            self._generators[member].set_state(state["generator"].cpu())
            if self._priorities is not None:
                self._priorities.load_state_dict(member, state["priorities"])


def _never_full(state: Mapping[str, Any]) -> bool:
    """Whether nothing in a saved replay was ever overwritten."""
    arrays = state["arrays"]
    return len(arrays["observations"]) == state["rows_written"] and len(arrays["actions"]) == state["steps_written"]
