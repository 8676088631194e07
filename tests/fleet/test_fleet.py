"""Runs side by side: what they leave behind, what a failure and Ctrl-C do to the others."""

import _thread
import io
import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console
from small_envs import LEDGE, expert
from small_runs import (
    SMALL,
    assert_same_run,
    configure,
    flags_of,
    ilfo_process,
    newest_checkpoint,
    wait_for_a_checkpoint,
)

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.fleet._display import Display, newest_rows
from ilfo.fleet.fleet import Failure, failures_in_words, run_jobs, spare_cores
from ilfo.fleet.jobs import check_apart, job_folder
from ilfo.fleet.train_jobs import TrainJob
from ilfo.runs import Run, read_config, read_metrics
from ilfo.train import train

EXPLODING = ("--env", "small_envs:Exploding-v0")


def job(demo, out, *flags, episodes=0, steps=200):
    return TrainJob.read(out.name, flags_of(demo, out, *flags, steps=steps), episodes)


def test_side_by_side_each_ends_as_it_would_alone_and_a_failure_stops_nobody(demo, tmp_path):
    said, ended = io.StringIO(), []
    jobs = [
        job(demo, tmp_path / "exploding", *EXPLODING),
        job(demo, tmp_path / "well", "--seeds", "0-1", episodes=2),
    ]
    (failure,) = run_jobs(jobs, 2, Console(file=said), ended=ended.append)
    assert (failure.job, ended) == (jobs[0], jobs[1:])
    assert "it ended with status 2; the end of" in failure.what
    assert "small_envs:Exploding-v0 returned a NaN or an infinity" in failure.what
    assert "exploding: failed" in said.getvalue()
    assert "well: finished" in said.getvalue()
    train(configure(demo, tmp_path / "alone", "--seeds", "0-1", steps=200))
    for seed in ("seed_0", "seed_1"):
        assert_same_run(tmp_path / "alone" / seed, tmp_path / "well" / seed)
        assert len(json.loads((tmp_path / "well" / seed / "evaluation.json").read_text())["episodes"]) == 2
    assert "policy's return" in jobs[1].log.read_text()


def test_one_by_one_in_this_process_a_failure_stops_nobody_either(tmp_path):
    demo = demos.write(tmp_path / "walk.hdf5", Demonstrations(expert().trajectories))
    jobs = [
        job(demo, tmp_path / "exploding", *EXPLODING),
        job(demo, tmp_path / "clumsy", "--env", "small_envs:Clumsy-v0"),
        job(demo, tmp_path / "[well]", episodes=2),
    ]
    said, ended = io.StringIO(), []
    failures = run_jobs(jobs, 1, Console(file=said), ended=ended.append)
    assert [failure.job.name for failure in failures] == ["exploding", "clumsy"]
    assert failures[0].what.startswith("small_envs:Exploding-v0 returned a NaN")
    assert "Traceback" in failures[1].what
    assert "no way back" in failures[1].what
    assert ended == jobs[2:]
    assert "[well] (3 of 3)" in said.getvalue()
    assert (tmp_path / "[well]" / "evaluation.json").exists()
    assert not (tmp_path / "[well]" / "log.txt").exists()


def test_ctrl_c_has_all_of_them_save(demo, tmp_path):
    flags = ["--", "--random-steps", "100", "--checkpoint-seconds", "0.2", "--log-every", "10", *SMALL]
    command = ["compare", "--env", LEDGE, "--demo", str(demo), "--out", str(tmp_path), "--steps", "100000"]
    command += ["--rewards", "transport", "environment", "--seeds", "0", "--jobs", "2", *flags]
    runs = [tmp_path / f"{reward}--td3" / "seed_0" for reward in ("transport", "environment")]
    with ilfo_process(*command) as process:
        try:
            for run in runs:
                wait_for_a_checkpoint(run, process, after=0)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    for run in runs:
        saved = newest_checkpoint(run)
        assert saved > 0
        assert read_metrics(run)[-1]["step"] <= saved
        # Who trains holds a lock: the children are gone, and the same command can go on.
        stored = read_config(run)
        Run(run, stored["config"], stored["demo_sha256"]).close()


@pytest.mark.filterwarnings("ignore::UserWarning")  # The ledge cannot be drawn, and the page does without.
def test_a_report_is_written_where_it_is_asked_for(demo, tmp_path):
    asked, page = job(demo, tmp_path / "a", "--report"), tmp_path / "a" / "report" / "index.html"
    assert run_jobs([asked], 1, None) == []
    written = page.stat().st_mtime_ns
    assert run_jobs([asked], 1, None) == []
    assert page.stat().st_mtime_ns == written, "of a run that did not change it is not written again"


@pytest.mark.filterwarnings("ignore::UserWarning")  # The ledge cannot be drawn, and the page does without.
def test_a_job_says_whether_it_is_done(demo, tmp_path):
    asked, page = job(demo, tmp_path / "a", "--report", episodes=2), tmp_path / "a" / "report" / "index.html"
    assert not asked.is_done
    assert run_jobs([asked], 1, None) == []
    assert asked.is_done
    assert not replace(asked, episodes=3).is_done
    assert not replace(asked, config=replace(asked.config, steps=201)).is_done
    page.unlink()
    assert not asked.is_done
    assert job(demo, tmp_path / "a", episodes=2).is_done
    (tmp_path / "a" / "evaluation.json").unlink()
    assert not asked.is_done
    assert job(demo, tmp_path / "a").is_done


def pressed(told: list[str], times: int, kills: bool = True):
    """A fleet whose jobs do not end by themselves, under somebody who presses Ctrl-C so often."""

    class Running:
        status = None

        def __init__(self):
            self.kills = kills

        def start(self, job):
            return self

        def press(self):
            nonlocal times
            if times:
                times -= 1
                os.kill(os.getpid(), signal.SIGINT)

        def poll(self):
            self.press()
            return self.status

        def terminate(self):
            told.append("terminate")

        def kill(self):
            told.append("kill")
            self.status = -9

        def wait(self):
            told.append("wait")
            self.press()
            self.status = 130
            return self.status

    return Running()


@pytest.mark.parametrize("times", [1, 2])
def test_a_second_ctrl_c_waits_for_no_save(demo, tmp_path, times):
    told, said = [], io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(demo, tmp_path / "a")], 1, Console(file=said), fleet=pressed(told, times))
    assert told[:2] == ["terminate", "wait"]
    assert ("kill" in told) is (times == 2)
    ended = {1: "stopped: what was training has saved", 2: "stopped at once, without waiting for a save"}
    assert ended[times] in said.getvalue()


def test_where_nothing_can_be_killed_a_second_ctrl_c_waits_too(demo, tmp_path, capfd):
    told, said = [], io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(demo, tmp_path / "a")], 1, Console(file=said), fleet=pressed(told, 2, kills=False))
    assert "kill" not in told
    assert "stopped: what was training has saved" in said.getvalue()
    assert "Ctrl-C again" not in capfd.readouterr().err


def test_what_cannot_be_started_leaves_no_child_behind(demo, tmp_path):
    started = []

    class Small:
        """Starts one, and no more."""

        kills = True

        def start(self, job):
            if started:
                raise OSError("no more processes")
            started.append(Waiting())
            return started[0]

    class Waiting:
        """Runs until it is stopped."""

        status = None

        def poll(self):
            return self.status

        def terminate(self):
            self.status = -15

        def wait(self):
            assert self.status is not None
            return self.status

    jobs = [job(demo, tmp_path / name) for name in "ab"]
    with pytest.raises(OSError, match="no more processes"):
        run_jobs(jobs, 2, fleet=Small())
    assert started[0].status == -15


def test_a_killed_process_is_told_from_one_that_ended(demo, tmp_path):
    class Killed:
        """Is killed at once."""

        kills = True

        def start(self, job):
            return self

        def poll(self):
            return -9

        def wait(self):
            return -9

    (failure,) = run_jobs([job(demo, tmp_path / "a")], 1, fleet=Killed())
    assert failure.what.startswith("it was killed by signal 9")
    assert failures_in_words([failure, Failure(failure.job, "why")]).startswith("2 runs failed\n\na: it was killed")


def test_a_failure_is_told_at_once_and_again_after_ctrl_c(tmp_path):
    demo = demos.write(tmp_path / "walk.hdf5", Demonstrations(expert().trajectories))
    said, seen = io.StringIO(), []

    class Stopping(TrainJob):
        def run(self, console):
            seen.append(said.getvalue())
            raise KeyboardInterrupt

    stopping = Stopping.read("stopping", flags_of(demo, tmp_path / "stopping", steps=200))
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(demo, tmp_path / "exploding", *EXPLODING), stopping], 1, Console(file=said))
    assert "exploding failed: small_envs:Exploding-v0 returned a NaN" in seen[0]
    assert "1 run failed\n\nexploding: small_envs:Exploding-v0 returned" in said.getvalue()


def test_the_display_says_how_far_all_and_each_are(demo, tmp_path):
    train(configure(demo, tmp_path / "run", "--seeds", "0-1"))
    rows = newest_rows(tmp_path / "run")
    assert [row["step"] for row in rows] == [400, 400]
    written = io.StringIO()
    with Display(Console(file=written, force_terminal=True, width=150), 2, 1000) as display:
        display.begin("one", tmp_path / "run", 400)
        display.begin("two[/b]", tmp_path / "nowhere", 600)
        display.refresh()
    shown = written.getvalue()
    assert "400/1,000 steps" in shown
    assert "400/400 steps" in shown
    assert "0/600 steps" in shown
    assert "two[/b]" in shown
    assert f"return {(rows[0]['eval_return'] + rows[1]['eval_return']) / 2:.1f}" in shown
    with Display(Console(file=written, force_terminal=True, width=150), 2, 1000) as display:
        display.begin("one", tmp_path / "run", 400)
        display.end("one")
        display.refresh()
        display.begin("two", tmp_path / "nowhere", 600)
        display.end("two", why="it is [not] there")
    assert "1 of 2" in written.getvalue()
    assert "two: failed, 2 of 2; it is [not] there" in written.getvalue()


def test_numbers_of_jobs():
    assert spare_cores(10_000) == 1
    assert spare_cores(1) == len(os.sched_getaffinity(0))
    with pytest.raises(InputError, match="--jobs is 0; expected at least 1"):
        run_jobs([], 0)


def test_jobs_that_would_share_a_folder_are_refused(demo, tmp_path):
    assert job_folder(tmp_path, "transport + 0.5*flow", "td3").name == "transport-0.5-flow--td3"
    assert job_folder(tmp_path, "拾う", "own_plugins:Höhe").name == "拾う--own-plugins-Höhe"
    first, second = job(demo, tmp_path / "a"), job(demo, tmp_path / "a")
    with pytest.raises(InputError, match="a and a would share the folder"):
        check_apart([first, second])
    check_apart([first, job(demo, tmp_path / "b")])


@pytest.mark.xdist_group("ray")
class TestRay:
    """By one worker: ``auto`` finds the clusters of all processes."""

    @pytest.fixture
    def fleet(self):
        pytest.importorskip("ray", reason="needs the extra ray")
        from ilfo.fleet.ray_fleet import RayFleet

        fleet = RayFleet("local", 1)
        yield fleet
        fleet.close()

    def test_tasks_of_a_cluster_leave_the_same_folders(self, fleet, demo, tmp_path):
        assert fleet.side_by_side >= 1
        jobs = [job(demo, tmp_path / "exploding", *EXPLODING), job(demo, tmp_path / "well", episodes=2)]
        (failure,) = run_jobs(jobs, 2, fleet=fleet)
        assert failure.job == jobs[0]
        assert "returned a NaN or an infinity" in failure.what
        train(configure(demo, tmp_path / "alone", steps=200))
        assert_same_run(tmp_path / "alone", tmp_path / "well")
        assert (tmp_path / "well" / "evaluation.json").exists()

    def test_a_task_that_is_stopped_saves(self, fleet, demo, tmp_path):
        long = job(demo, tmp_path / "long", "--checkpoint-seconds", "1000", steps=1_000_000)
        task = fleet.start(long)
        while task.poll() is None and not newest_rows(long.folder):
            time.sleep(0.05)
        task.terminate()
        assert task.wait() != 0
        assert newest_checkpoint(long.folder) > 0

    def test_a_cluster_that_is_not_there_is_named(self):
        pytest.importorskip("ray", reason="needs the extra ray")
        from ray._private.services import find_gcs_addresses

        from ilfo.fleet.ray_fleet import RayFleet

        for _ in range(600):  # The processes of the cluster before this one may still be ending.
            if not find_gcs_addresses():
                break
            time.sleep(0.1)
        else:
            pytest.skip("a Ray cluster runs on this machine")
        with pytest.raises(InputError, match="--ray auto: no cluster answers"):
            RayFleet("auto", 1)

    def test_a_job_that_fits_on_no_machine_is_refused_and_the_cluster_left(self):
        ray = pytest.importorskip("ray", reason="needs the extra ray")
        from ilfo.fleet.ray_fleet import RayFleet

        with pytest.raises(InputError, match="--threads is 10000"):
            RayFleet("local", 10_000)
        assert not ray.is_initialized()


def test_a_task_is_stopped_where_the_process_was_begun_to_ignore_ctrl_c(demo, tmp_path):
    """As Ray's are where a script started ilfo in its background: else a cancelled task would never hear of it."""
    from ilfo.fleet.ray_fleet import do_job

    long = job(demo, tmp_path / "long", "--checkpoint-seconds", "1000", steps=3000)

    def cancel():
        while not newest_rows(long.folder):
            time.sleep(0.05)
        _thread.interrupt_main()  # what Ray does

    before, here = signal.signal(signal.SIGINT, signal.SIG_IGN), os.getcwd()
    threading.Thread(target=cancel, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            do_job(long.commands, str(long.log), 1, here, sys.path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 0 < newest_checkpoint(long.folder) < 3000


def test_jobs_are_as_many_as_fit_on_the_machines_of_a_cluster():
    from ilfo.fleet.ray_fleet import places

    head, worker, gone = (
        {"Alive": True, "Resources": {}},
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": False},
    )
    assert places([head, worker, worker, gone], 2, "local") == 2
    assert places([head, worker], 1, "local") == 3
    for machines, most in (([head, worker, gone], 3), ([head], 0), ([], 0)):
        with pytest.raises(
            InputError, match=rf"--threads is 4, .* cluster --ray host:1 have at most {most}\. Give fewer"
        ):
            places(machines, 4, "host:1")


def test_without_ray_it_is_named(monkeypatch):
    from ilfo.fleet.ray_fleet import RayFleet

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install \"ilfo\[ray\]\""):
        RayFleet("local", 1)
