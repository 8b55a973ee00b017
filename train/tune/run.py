"""`vad tune`: run trials with Optuna, in one or several processes; a search can be resumed.

    runs/tune/
      study.journal     every trial as it happens: lines of JSON, by Optuna; no pickles
      search.json       what is searched, and on what; a resumed search must be the same
      trials.csv, tuning.png, best.toml, tune.json     see `results`

A trial is measured on several validation splits of the training videos; test videos are never read.
A trial whose AUC falls below the median of the earlier trials is pruned.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vad.device import choose_device
from vad.documents import read_json
from vad.errors import UsageError
from vad.files import write_json, write_text
from vad.labels import Labels, read_labels, write_labels
from vad.terminal import meter

from ..fit import WARMUP, Diverged
from ..presets import split_settings
from .measure import Problem, measure
from .picture import draw
from .results import SearchResult, Trial, best_toml, table
from .space import Choice, Range, Space, Value, choose_space, grid_of

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
except ModuleNotFoundError:
    raise UsageError("vad tune needs Optuna", hint="pip install 'wsvad[tune]'") from None

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger("vad")

SCHEMA = "vad.search/1"
JOURNAL, SEARCH = "study.journal", "search.json"
STARTUP = 5  # finished trials before any is pruned
ELSEWHERE = "choose another --out"
GIVEN_UP = (optuna.trial.TrialState.FAIL, optuna.trial.TrialState.RUNNING)
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


@dataclass(frozen=True)
class Search:
    """All that a worker process needs to run trials of a search."""

    problem: Problem
    space: Space
    seeds: tuple[int, ...]  # one per validation split
    out: Path

    @property
    def seed(self) -> int:
        return self.problem.settings.seed

    def study(self, sampler: optuna.samplers.BaseSampler | None = None) -> Study:
        """Open the Optuna study in the folder `out`, or create it."""
        path = str(self.out / JOURNAL)
        backend = JournalFileBackend(path, JournalFileOpenLock(path))
        ripe_from = int(WARMUP * self.problem.settings.epochs)
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="vad",
            direction="maximize",
            sampler=sampler,
            pruner=optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=ripe_from // 2),
            load_if_exists=True,
        )

    def to_dict(self) -> dict[str, object]:
        """Return what a resumed search must have in common with the one in the folder."""
        left_out = ("device", "seed", "select")
        settings = asdict(self.problem.settings)
        return {
            "schema": SCHEMA,
            "store": str(self.problem.store),
            "labels": str(self.problem.labels),
            "settings": {n: v for n, v in settings.items() if n not in left_out},
            "detector": dict(self.problem.own),
            "space": {name: asdict(part) for name, part in self.space.items()},
            "seeds": list(self.seeds),
        }


def tune(
    store: str | Path,
    labels: Labels,
    out: str | Path = "runs/tune",
    *,
    trials: int = 30,
    splits: int = 5,
    space: str | Path | Sequence[str] | None = None,
    jobs: int = 1,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> SearchResult:
    """Search the settings of a training on validation videos, and write the result to `out`.

    `settings` are those of `TrainSettings` and of the detector; the search starts from them. trials
    is their number, including those before a resume. splits is the number of validation splits that
    a trial is measured on. space is described in `choose_space`; if it is a grid with at most
    `trials` points, each point is tried once. With one job the same seed gives the same trials,
    resumed or not. Raises UsageError for wrong input, and if `select` is "test".
    """
    chosen, own = split_settings(settings)
    chosen = replace(chosen, device=str(choose_device(chosen.device)))
    if chosen.select == "test":
        raise UsageError("vad tune never looks at test videos", hint="leave --select out")
    # worker processes and a resumed search read the labels from this file
    if not isinstance(labels, str | Path):
        labelled, labels = read_labels(labels), Path(out) / "labels.csv"
        write_labels(labels, labelled)
    problem = Problem(store, Path(labels), chosen, own)
    searched = choose_space(space, chosen, own)
    seeds = tuple(range(chosen.seed, chosen.seed + splits))
    search = Search(problem, searched, seeds, Path(out))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _begin(search, resume=resume)
    study = search.study()
    n_trials = _enter_grid(study, search, trials)
    n_done = sum(trial.state in FINISHED for trial in study.trials)
    given = _once(study, "given", search, {}, seeds)
    with meter("tune", n_trials - n_done, unit="trials", quiet=quiet) as progress:
        for _ in _run(search, range(n_done, n_trials), jobs):
            progress.advance()
    found = _found(search, study, given)
    save(found, search.out)
    return found


def save(found: SearchResult, folder: Path) -> None:
    """Write trials.csv, best.toml, tune.json and tuning.png to a folder."""
    write_text(folder / "trials.csv", table(found))
    write_text(folder / "best.toml", best_toml(found, folder / "best.toml"))
    write_json(folder / "tune.json", found.to_dict())
    draw(found, folder / "tuning.png")


def _found(search: Search, study: Study, given: list[float]) -> SearchResult:
    """Return the result; measure the best trial and the given settings on fresh splits as well.

    If no trial beats the given settings, the result has no best trial. Raises UsageError if all
    trials diverged.
    """
    if not (complete := study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))):
        raise UsageError("every trial diverged", hint="search smaller learning rates: --space")
    best = max(complete, key=lambda trial: (trial.value, -trial.number))
    trials = [_plain(trial) for trial in study.trials if trial.state in FINISHED]
    assert best.value is not None  # a complete trial has a value
    if best.value <= np.mean(given):
        return SearchResult(search.problem, search.space, trials, None, given)
    fresh = tuple(seed + len(search.seeds) for seed in search.seeds)
    return SearchResult(
        search.problem,
        search.space,
        trials,
        _plain(best),
        given,
        given_fresh=_once(study, "given, fresh splits", search, {}, fresh),
        best_fresh=_once(study, f"trial {best.number}, fresh splits", search, best.params, fresh),
    )


def _begin(search: Search, *, resume: bool) -> None:
    """Write `search.json`, or check that an existing one is equal and the search may be resumed.

    Trials that a killed process left unfinished are marked as failed. Raises UsageError if the
    folder holds a search and `resume` is False, if the settings differ, or if a file is damaged.
    """
    said, path = json.loads(json.dumps(search.to_dict())), search.out / SEARCH
    journal = search.out / JOURNAL
    if not path.exists() and not journal.exists():
        if resume:
            log.info("%s holds no search to go on with: a new one begins", search.out)
        write_json(path, said)
        return
    if not resume:
        raise UsageError(f"{search.out} holds a search", hint="--resume, or choose another --out")
    try:
        before = read_json(path)
    except UsageError as error:
        raise UsageError(str(error), hint=ELSEWHERE) from None
    if not isinstance(before, dict):
        raise UsageError(f"{path} holds no settings of a search", hint=ELSEWHERE)
    if other := [n for n in said if before.get(n) != said[n]]:
        raise UsageError(
            f"{search.out} was begun with other {other[0]}",
            hint=f"use the same settings, or {ELSEWHERE}",
        )
    _mend(journal)
    try:
        study = search.study()
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        for trial in study.get_trials(states=FINISHED):
            _check(trial, search)
        for measured in study.user_attrs.values():
            np.array(measured, np.float64)
    except Exception as error:  # Optuna checks little of what it reads, so any error may come
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"{journal} is damaged: {words}", hint=ELSEWHERE) from None


def _mend(journal: Path) -> None:
    """Drop an incomplete last line, which a process left that was killed while it wrote."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def _check(trial: FrozenTrial, search: Search) -> None:
    """Raise ValueError if a finished trial of a resumed search is not one of this search."""
    is_complete = trial.state == optuna.trial.TrialState.COMPLETE
    aucs = trial.user_attrs.get("aucs", ())
    if trial.params.keys() != search.space.keys() or (
        is_complete and (len(aucs) != len(search.seeds) or trial.value != np.mean(aucs))
    ):
        raise ValueError(f"trial {trial.number} is not what was written")


def _enter_grid(study: Study, search: Search, n_trials: int) -> int:
    """Return the number of trials. If the space is a small enough grid, enqueue each point once."""
    grid = grid_of(search.space)
    if grid is None or len(grid) > n_trials:
        return n_trials
    known = [t.system_attrs.get("fixed_params") for t in study.trials if t.state not in GIVEN_UP]
    for index in np.random.default_rng(search.seed).permutation(len(grid)):
        if grid[index] not in known:
            study.enqueue_trial(grid[index])
    log.info("%d combinations, each once", len(grid))
    return len(grid)


def _once(
    study: Study, name: str, search: Search, point: Mapping[str, object], seeds: Sequence[int]
) -> list[float]:
    """Measure a point outside the trials.

    Returns the AUC per split. They are kept in the study under `name` and not measured again.
    """
    if name not in study.user_attrs:
        study.set_user_attr(name, measure(search.problem, point, seeds).tolist())
    return [float(auc) for auc in study.user_attrs[name]]


def _plain(trial: FrozenTrial) -> Trial:
    steps = trial.intermediate_values
    return Trial(
        trial.number,
        point=dict(trial.params),
        aucs=trial.user_attrs.get("aucs"),
        last=steps[max(steps)] if steps else None,
        n_epochs=len(steps),
    )


def _run(search: Search, tickets: Sequence[int], jobs: int) -> Iterator[None]:
    """Run trials in this process (one job) or in worker processes, and yield as each one ends."""
    if jobs == 1:
        for ticket in tickets:
            _trial(search, ticket)
            yield
        return
    context = multiprocessing.get_context("spawn")
    # each worker loads its own data
    search = replace(search, problem=replace(search.problem, _loaded={}))
    n_threads = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(
        jobs, context, initializer=_start_worker, initargs=(search, n_threads)
    ) as pool:
        futures = [pool.submit(_trial_in_worker, ticket) for ticket in tickets]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_search: Search | None = None  # of a worker process; it keeps the loaded bags between trials


def _start_worker(search: Search, n_threads: int) -> None:
    global _search
    _search = search
    torch.set_num_threads(n_threads)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _trial_in_worker(ticket: int) -> None:
    if _search is not None:
        _trial(_search, ticket)


def _trial(search: Search, ticket: int) -> None:
    """Run one trial. Its values depend on the seed, its ticket and the earlier trials only."""
    drawn = np.random.SeedSequence([search.seed, ticket]).generate_state(1)[0]
    study = search.study(optuna.samplers.TPESampler(seed=int(drawn)))
    trial = study.ask()
    point = {name: _suggest(trial, name, part) for name, part in search.space.items()}

    def report(epoch: int, auc: float) -> None:
        trial.report(auc, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        aucs = measure(search.problem, point, search.seeds, report)
    except (optuna.TrialPruned, Diverged):
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return
    trial.set_user_attr("aucs", aucs.tolist())
    study.tell(trial, float(aucs.mean()))


def _suggest(trial: optuna.Trial, name: str, part: Range | Choice) -> Value:
    if isinstance(part, Choice):
        return trial.suggest_categorical(name, part.values)
    if part.whole:
        return trial.suggest_int(name, int(part.low), int(part.high), log=part.log)
    return trial.suggest_float(name, part.low, part.high, log=part.log)
