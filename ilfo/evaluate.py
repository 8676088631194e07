"""``ilfo evaluate``: plays a trained policy on episodes that its training has not seen."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilfo._evaluation_display import print_evaluation, print_looks, print_seeds
from ilfo._evaluations import Evaluation, SeedsEvaluation
from ilfo._tools.atomic import atomic_path
from ilfo._tools.checks import check_episode_count, check_seed
from ilfo._tools.cores import threads
from ilfo._tools.errors import InputError, closest
from ilfo._tools.seeds import EVALUATION, derived_seed
from ilfo.cloning import Looks, evaluate_clone, evaluate_looks, is_clone
from ilfo.envs.video import check_video_path, write_video
from ilfo.runs import read_config, read_summary
from ilfo.training.imitation import Imitation, load
from ilfo.training.run_group import seed_runs
from ilfo.variants import Kind, Split

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Evaluation",
    "SeedsEvaluation",
    "evaluate",
    "evaluate_seeds",
    "main",
    "play",
    "read_evaluations",
    "write_evaluation",
    "write_looks",
]

_SUITES = (
    "\n\nA suite in place of a run trains and evaluates every task of it with every reward and agent: 'ilfo evaluate "
    "SUITE --help'. SUITE is a TOML file, or one of: "
)


def evaluate(run: str | os.PathLike[str], episodes: int = 10, *, seed: int | None = None) -> Evaluation:
    """Plays fresh episodes with the policy of a run, under the run's protocol.

    Args:
        run: Folder of a run, finished or under way; that of a cloned policy must be finished.
        episodes: How many, at least 1.
        seed: Seed of their initial states; by default one derived from the run's seed that the evaluations during
            training do not use.

    Raises:
        InputError: Not a run, a run without a checkpoint, the runs of several seeds (see :func:`evaluate_seeds`), no
            episodes, or a negative seed.
    """
    check_episode_count(episodes)
    check_seed(seed)
    if is_clone(run):
        return evaluate_clone(run, episodes, _seed_of(run, seed))
    with closing(load(run)) as imitation, threads(imitation.config.threads):
        return play(imitation, run, episodes, seed)


def evaluate_seeds(
    run: str | os.PathLike[str],
    episodes: int = 10,
    *,
    seed: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> SeedsEvaluation:
    """:func:`evaluate` for each of the seeds that were trained side by side.

    Args:
        run: The folder around their runs.
        episodes: How many for each seed.
        seed: Seed of the initial states, then the same for all; by default each plays its own.
        progress: Called with what is being done.

    Raises:
        InputError: As :func:`evaluate` does; or the folder is the run of one seed.
    """
    found = {}
    runs = seed_runs(run)
    if not runs:
        raise InputError(f"{run} is the run of one seed; expected the folder of several")
    for number, (trained, folder) in enumerate(runs.items(), start=1):
        if progress is not None:
            progress(f"playing {episodes} episodes with seed {trained}, {number} of {len(runs)}")
        found[trained] = evaluate(folder, episodes, seed=seed)
    return SeedsEvaluation(found)


def play(imitation: Imitation, run: str | os.PathLike[str], episodes: int, seed: int | None = None) -> Evaluation:
    """:func:`evaluate` for a run that is loaded already."""
    seed = derived_seed(imitation.config.seed, EVALUATION) if seed is None else seed
    summary = read_summary(run) or {}
    return Evaluation(
        env_id=imitation.config.env,
        protocol=imitation.config.protocol,
        seed=seed,
        steps=summary.get("steps", imitation.step),
        trajectories=tuple(imitation.evaluate(episodes, seed)),
        expert_return=imitation.expert_return,
        random_return=summary.get("random_return"),
    )


def write_evaluation(run: str | os.PathLike[str], found: Evaluation | SeedsEvaluation) -> None:
    """Writes the result to ``evaluation.json`` in the run's folder, or each seed's result in its own.

    Warns:
        UserWarning: It cannot be written there.
    """
    if isinstance(found, Evaluation):
        each = {Path(run): found}
    else:
        folders = seed_runs(run)
        each = {folders[seed]: one for seed, one in found.each.items()}
    for folder, one in each.items():
        _write(folder, "evaluation.json", one.as_dict())


def read_evaluations(run: str | os.PathLike[str]) -> tuple[dict[str, Any], ...]:
    """What :func:`write_evaluation` kept of a finished run of ``ilfo train``, or of each of its seeds.

    Returns:
        ``evaluation.json`` of each seed; empty unless every seed has one at the summary's number of steps, since one
        written during training describes an earlier policy, and from the initial states that follow from the seed.
    """
    summary = read_summary(run)
    if summary is None:
        return ()
    folders = seed_runs(run) or {read_config(run)["config"]["seed"]: Path(run)}
    files = [folder / "evaluation.json" for folder in folders.values()]
    found = tuple(json.loads(file.read_text()) for file in files if file.is_file())
    wanted = [(summary["steps"], derived_seed(seed, EVALUATION)) for seed in folders]
    return found if [(each.get("steps"), each.get("seed")) for each in found] == wanted else ()


def write_looks(run: str | os.PathLike[str], found: Looks) -> None:
    """Keeps what was found as ``variants.json`` in the folder of the run.

    Warns:
        UserWarning: It cannot be written there.
    """
    _write(Path(run), "variants.json", found.as_dict())


def _write(folder: Path, name: str, content: dict[str, Any]) -> None:
    try:
        with atomic_path(folder / name) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        warnings.warn(f"{name} is not kept: {error}", stacklevel=3)


def _seed_of(run: str | os.PathLike[str], seed: int | None) -> int:
    return derived_seed(read_config(run)["config"]["seed"], EVALUATION) if seed is None else seed


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo evaluate``: of a run, or of a suite where the first word names one."""
    import tyro

    from ilfo.suites import bundled_suites, is_suite, open_suite

    given = list(argv)
    if given and is_suite(given[0]):
        from ilfo.suites import evaluate_clones, evaluate_suite

        return (evaluate_clones if open_suite(given[0]).verb == "clone" else evaluate_suite).main(given)
    if given:
        _check_there(given[0], bundled_suites())
    description = (_command.__doc__ or "").partition("\n\n")[0] + _SUITES + ", ".join(bundled_suites())
    tyro.cli(_command, args=given, prog="ilfo evaluate", description=description)
    return 0


def _check_there(name: str, suites: Iterable[str]) -> None:
    """Refuses a bare word that names nothing, before its flags are read: they may well be those of a suite."""
    path = Path(name)
    if not name.startswith("-") and path.name == name and not path.exists():
        raise InputError(f"{name} is neither the folder of a run nor a suite; of suites, {closest(name, suites)}")


def _command(
    run: Path,
    /,
    *,
    episodes: int = 10,
    seed: int | None = None,
    video: Path | None = None,
    variants: tuple[Kind, ...] = (),
    split: tuple[Split, ...] | None = None,
    stop_after_success: int | None = None,
) -> None:
    """Play a trained policy, or those of several seeds: return, success, ratio to the expert.

    Args:
        run: Folder of a run or of several seeds, finished or under way.
        episodes: Episodes to play (of each seed), without exploration noise, under the run's protocol.
        seed: Seed of their initial states; by default one that the evaluations in training do not use.
        video: Film the best of them (of the best seed): a file that ends in .webm or .mp4.
        variants: For a cloned policy: play it where the environment looks different, in one of these ways at a time.
            Prints one table and writes variants.json.
        split: With --variants, by default both. Seen: the variants that the demonstrations show, in turn; for a kind
            that they do not show, other variants from the same ranges. Unseen: variants from held-out ranges, a
            different one for each episode.
        stop_after_success: With --variants: steps that an episode goes on after its first success; by default it goes
            on to its end. Success is not affected; returns cover fewer steps.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    check_episode_count(episodes)
    check_seed(seed)
    if variants:
        splits = ("seen", "unseen") if split is None else split
        _evaluate_looks(run, episodes, seed, video, variants, splits, stop_after_success, console)
        return
    if split is not None:
        raise InputError("--split is for --variants, and there are none: leave it out")
    if stop_after_success is not None:
        raise InputError("--stop-after-success is for --variants, and there are none: leave it out")
    if video is not None:
        check_video_path(video)
    whose = ""
    with console.status(f"playing {episodes} episodes") as status:
        if seed_runs(run):
            together = evaluate_seeds(run, episodes, seed=seed, progress=status.update)
            found, whose = together.each[together.best], f" of seed {together.best}"
        else:
            together, found = None, evaluate(run, episodes, seed=seed)
    write_evaluation(run, together or found)
    if together is None:
        print_evaluation(found, console)
    else:
        print_seeds(together, seed, console)
    if video is not None:
        best = found.trajectories[found.ranked()[0]]
        with console.status("filming the best episode"):
            write_video(video, best, found.env_id, found.protocol)
        console.print(f"video     {video} (the best episode{whose})", markup=False)


def _evaluate_looks(
    run: Path,
    episodes: int,
    seed: int | None,
    video: Path | None,
    kinds: tuple[Kind, ...],
    splits: tuple[Split, ...],
    stop_after_success: int | None,
    console: Console,
) -> None:
    if not is_clone(run):
        raise InputError(f"--variants is for policies of 'ilfo clone', and {run} is none: leave it out")
    if video is not None:
        raise InputError("--video with --variants: film one of them by 'ilfo evaluate RUN --video', without --variants")
    with console.status("") as status:
        seed = _seed_of(run, seed)
        looks = evaluate_looks(
            run,
            kinds,
            splits,
            episodes,
            seed=seed,
            stop_after_success=stop_after_success,
            progress=status.update,
        )
    write_looks(run, looks)
    print_looks(looks, console)
