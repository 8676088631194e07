"""Copies of an environment in a process of their own: both ends of the line, and what is said on it.

A request is one letter and its content, a reply too. A step's arrays travel as their bytes, everything else as JSON.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
import traceback
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.envs.copies import Copies, Moves
from ilfo.envs.making import Protocol

__all__ = ["Worker", "serve"]

_STEP, _CALL = b"s", b"c"
_DONE, _REFUSED, _FAILED = b"d", b"r", b"f"

_ENDED = struct.Struct("<I")
"""How many episodes a step ended."""
_EPISODE = struct.Struct("<IIQ?bii")
"""Row, steps, seed, terminated; success: 1, 0, or -1 where the task has none; step of the first success, and width of
the goal, each -1 where there is none."""

_START = "import sys; sys.path[:] = sys.argv[2:]; from ilfo.envs._worker import serve; serve(int(sys.argv[1]))"
_PATIENCE = 5.0
"""Seconds that a worker gets to end by itself once its line is cut."""


class Worker:
    """This process's end: starts a worker process, sends it requests and reads its answers.

    The process is a fresh interpreter with this one's ``sys.path``: it imports neither the user's script nor PyTorch,
    and inherits no locks of other threads. Ctrl-C in the terminal does not reach it. It ends when its line is cut: by
    :meth:`close`, when this object is collected, or when this process dies, however it does.

    Args:
        env_id: Gymnasium id.
        protocol: How episodes end.
        identities: See :meth:`ilfo.envs.copies.Copies.make`, which is already asked for.
        frame_size: See there.
        films: See there.
    """

    def __init__(
        self,
        env_id: str,
        protocol: Protocol,
        identities: Sequence[tuple[int, int]],
        frame_size: tuple[int, int] | None = None,
        films: bool = True,
    ) -> None:
        self._env_id, self._count, self._frame_size, self._films = env_id, len(identities), frame_size, films
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), *map(str, sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        self._line: Connection[Any, Any] = Connection(ours.detach())
        self._cut = weakref.finalize(self, _end, self._line, self._process)
        self.ask("make", env_id, protocol, identities, frame_size, films)

    def ask(self, method: str, *arguments: Any) -> None:
        """Asks for a call of a method of :class:`~ilfo.envs.copies.Copies`."""
        if method == "step":
            request = _STEP + arguments[0].tobytes()
        else:
            request = _CALL + json.dumps([method, *arguments]).encode()
        with suppress(OSError):  # The process is gone, and the answer says so.
            self._line.send_bytes(request)
        self._asked = method

    def answer(self) -> Any:
        """Waits for the end of what was asked, and returns its result; of arrays, other than a step's, lists.

        Raises:
            InputError: As the method does.
            RuntimeError: The environment failed, or the process was killed.
        """
        try:
            reply = self._line.recv_bytes()
        except (EOFError, OSError) as error:
            raise RuntimeError(self._end_in_words()) from error
        kind, content = reply[:1], reply[1:]
        if kind == _REFUSED:
            raise InputError(content.decode() + self._advice())
        if kind == _FAILED:
            raise RuntimeError(f"{self._env_id} failed in a worker process:\n{content.decode()}")
        if self._asked == "step":
            return _unpack(content, self._count, *self._widths, self._frame_size, self._films)
        result = json.loads(content)
        if self._asked == "make":
            self._widths: tuple[int, int] = result[0], result[1]
        return result

    def _advice(self) -> str:
        if self._asked == "make" and self._env_id in gymnasium.registry:
            return (
                ". It is known here, but not in a worker process, which does not run your script: register it in a "
                f"module and give its id as module:{self._env_id}"
            )
        return ""

    def _end_in_words(self) -> str:
        self.close()
        status = self._process.returncode
        how = (
            f"was killed by signal {-status} ({signal.strsignal(-status)})"
            if status < 0
            else f"ended with status {status}"
        )
        return f"a worker process that steps {self._env_id} {how}; what it wrote before may say why"

    def hang_up(self) -> None:
        """Tells the process to end, without waiting for it."""
        self._line.close()

    def close(self) -> None:
        """Ends the process."""
        self._cut()


def _end(line: Connection[Any, Any], process: subprocess.Popen[bytes]) -> None:
    line.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(descriptor: int) -> None:
    """The worker's end: does what it is asked until the line is cut.

    Args:
        descriptor: Of the socket.
    """
    copies = Copies()
    with Connection(descriptor) as line, suppress(EOFError, ConnectionError):
        while True:
            line.send_bytes(_reply(copies, line.recv_bytes()))
    copies.close()


def _reply(copies: Copies, request: bytes) -> bytes:
    try:
        if request[:1] == _STEP:
            actions = np.frombuffer(request, np.float32, offset=1).reshape(len(copies), -1)
            return _DONE + _pack(copies.step(actions))
        method, *arguments = json.loads(request[1:])
        return _DONE + json.dumps(getattr(copies, method)(*arguments), default=np.ndarray.tolist).encode()
    except InputError as error:
        return _REFUSED + str(error).encode()
    # Environments raise what they like, and whoever asked wants to know it.
    except Exception:
        return _FAILED + traceback.format_exc().encode()


def _pack(moves: Moves) -> bytes:
    parts = [_ENDED.pack(len(moves.finished)), *(array.tobytes() for array in moves[:3])]
    for row, episode in moves.finished:
        success = -1 if episode.success is None else int(episode.success)
        assert episode.actions is not None
        assert episode.env_rewards is not None
        step = -1 if episode.success_step is None else episode.success_step
        width = -1 if episode.goal is None else len(episode.goal)
        parts += [
            _EPISODE.pack(row, len(episode), episode.seed, episode.terminated, success, step, width),
            episode.observations.tobytes(),
            episode.actions.tobytes(),
            episode.env_rewards.tobytes(),
            b"" if episode.goal is None else episode.goal.tobytes(),
            b"" if episode.frames is None else episode.frames.tobytes(),
        ]
    if moves.finished:
        parts.append(moves.observations.tobytes())
    if moves.frames is not None:
        parts.append(moves.frames.tobytes())
    return b"".join(parts)


def _unpack(content: bytes, count: int, seen: int, done: int, frame_size: tuple[int, int] | None, films: bool) -> Moves:
    position = 0

    def read(*shape: int, dtype: type = np.float32) -> np.ndarray:
        nonlocal position
        view: np.ndarray = np.ndarray(shape, dtype, content, position)
        position += view.nbytes
        return view.copy()

    (ended,) = _ENDED.unpack_from(content)
    position += _ENDED.size
    after, env_rewards, terminated = read(count, seen), read(count), read(count, dtype=np.bool_)
    finished = []
    film_size, look_size = (frame_size, None) if films else (None, frame_size)
    for _ in range(ended):
        row, steps, seed, fell, success, step, width = _EPISODE.unpack_from(content, position)
        position += _EPISODE.size
        episode = Trajectory(
            observations=read(steps + 1, seen),
            actions=read(steps, done),
            env_rewards=read(steps),
            terminated=fell,
            truncated=not fell,
            success=None if success < 0 else bool(success),
            seed=seed,
            goal=None if width < 0 else read(width),
            frames=None if film_size is None else read(steps + 1, *film_size[::-1], 3, dtype=np.uint8),
            success_step=None if step < 0 else step,
        )
        finished.append((row, episode))
    now = read(count, seen) if ended else after.copy()
    frames = None if look_size is None else read(count + ended, *look_size[::-1], 3, dtype=np.uint8)
    return Moves(after, env_rewards, terminated, now, tuple(finished), frames)
