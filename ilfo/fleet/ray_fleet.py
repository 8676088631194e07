"""Runs as Ray tasks on a cluster: the same processes, logs and folders as on one machine.

The folders have to be on a disk that all machines share, under the same path, and ``ilfo`` installed on each.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilfo._tools.errors import InputError
from ilfo.fleet.fleet import Process, start_child
from ilfo.fleet.jobs import Job

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["RayFleet", "do_job", "places"]

_LOOK = 0.5
"""Seconds between two looks of a task at its process: a cancelled task only notices in between."""

_ANSWER = 5.0
"""Seconds within which a cluster's head is to answer."""

_STOPPED = 143
"""Exit status of a job that was stopped, by the shell's convention: 128 + SIGTERM."""


class RayFleet:
    """A Ray cluster that jobs run on, each a task of as many processors as its learner has threads.

    Args:
        address: Of the cluster's head, as ``ray.init`` takes it: ``host:port``, ``auto``, or ``local`` for one that is
            started on this machine and ends with :meth:`close`.
        threads: Processors of a job.

    Raises:
        InputError: Ray is not installed, there is no cluster, or no machine of it has so many processors.

    Attributes:
        side_by_side: How many jobs fit on the cluster, at least 1.
    """

    kills = False  # The child of a task that is ended by force lives on.

    def __init__(self, address: str, threads: int) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise InputError('Ray is not installed: pip install "ilfo[ray]"') from error
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise InputError(f"--ray {address}: no cluster answers ({error}); start one with 'ray start'") from error
        self._ray: ModuleType = ray
        self._remote = ray.remote(num_cpus=threads, max_retries=0)(do_job)
        try:
            self.side_by_side = places(ray.nodes(), threads, address)
        except InputError:
            self.close()
            raise

    def start(self, job: Job) -> Process:
        """Submits a job; it waits for free processors."""
        reference = self._remote.remote(job.commands, str(job.log.absolute()), job.threads, os.getcwd(), list(sys.path))
        return _Task(self._ray, reference)

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Raises an ``OSError`` where nobody listens at ``host:port``: Ray would try again for a quarter of an hour."""
    if found := re.fullmatch(r"\[?([^/]+?)\]?:(\d+)", address):
        socket.create_connection((found[1], int(found[2])), timeout=_ANSWER).close()


def places(machines: Iterable[Mapping[str, Any]], threads: int, address: str) -> int:
    """How many jobs fit on a cluster, each on one of its machines.

    Args:
        machines: What ``ray.nodes`` says of them.
        threads: Processors of a job.
        address: Of the cluster, for the error.

    Raises:
        InputError: None has as many processors: Ray would wait for one, for ever.

    Examples:
        >>> places([{"Alive": True, "Resources": {"CPU": 3.0}}, {"Alive": True, "Resources": {"CPU": 4.0}}], 2, "auto")
        3
    """
    processors = [int(machine["Resources"].get("CPU", 0)) for machine in machines if machine["Alive"]]
    most = max(processors, default=0)
    if most < threads:
        raise InputError(
            f"--threads is {threads}, and a job needs that many processors on one machine; those of the cluster --ray "
            f"{address} have at most {most}. Give fewer --threads, or start a machine that has more"
        )
    return sum(each // threads for each in processors)


class _Task:
    """A job that was submitted."""

    def __init__(self, ray: ModuleType, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def poll(self) -> int | None:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        return self.wait() if ready else None

    def terminate(self) -> None:
        self._ray.cancel(self._reference, force=False)

    def kill(self) -> None:
        """Does nothing, see :attr:`RayFleet.kills`."""

    def wait(self) -> int:
        try:
            return int(self._ray.get(self._reference))
        except self._ray.exceptions.TaskCancelledError:
            return _STOPPED
        # A machine that is lost, or one without ilfo: the log cannot say it, and the other jobs go on.
        except self._ray.exceptions.RayError as error:
            print(f"ilfo: a Ray task failed: {error}", file=sys.stderr)
            return 1


def do_job(commands: Sequence[Sequence[str]], log: str, threads: int, folder: str, path: Sequence[str]) -> int:
    """Code of a task: runs a child process to its end; when cancelled, has it save and end."""
    os.chdir(folder)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # As whatever was started in the background of a script has it; a cancelled task is told by this signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start_child(commands, Path(log), threads, path)
    try:
        while process.poll() is None:
            time.sleep(_LOOK)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode
