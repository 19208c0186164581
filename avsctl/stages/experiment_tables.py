"""The paper's tables as data: which evaluation stands where, and what is compared with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from avsctl.caches.clips import SPLITS, ClipCache
from avsctl.configs import LEVELS
from avsctl.errors import AvsctlError
from avsctl.stages import experiment_paper as paper
from avsctl.stages.experiment_cells import Cell, CellBook, Evaluation, Model, Prior, in_order

Where = tuple[str, str]
"""A row and a column."""

BOTH = {"mIoU": "miou", "F": "f_score"}
CURVE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The priors' mIoU on the curve, below the oracle's 1."""
SINGLE = "single stage"


@dataclass(frozen=True)
class Entry:
    """One place of a table.

    Args:
        evaluations: one per seed.
        scores: what is shown, by title, and its name in the reports.
        subset: the part of the reports that is shown.
        paper: the paper's mIoU and F, percent.
    """

    evaluations: tuple[Evaluation, ...]
    scores: Mapping[str, str] = field(default_factory=lambda: BOTH)
    subset: str = "all"
    paper: paper.Number = paper.NOTHING


@dataclass(frozen=True)
class Plan:
    """A table before anything is run.

    Args:
        corner: what the rows are. entries: by row and column, in the order in which they are shown.
        differences: pairs of places: the first's score minus the second's.
        notes: what a reader must know.
    """

    name: str
    title: str
    corner: str
    entries: Mapping[Where, Entry]
    differences: tuple[tuple[Where, Where], ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[str]:
        """Titles of the rows, in order."""
        return list(dict.fromkeys(row for row, _ in self.entries))

    @property
    def columns(self) -> list[str]:
        """Titles of the columns, in order."""
        return list(dict.fromkeys(column for _, column in self.entries))

    def cells(self) -> list[Cell]:
        """All that must be there, what is needed first."""
        return in_order(one for entry in self.entries.values() for one in entry.evaluations)


def _table1(book: CellBook, models: Sequence[Model], seeds: Sequence[int]) -> Plan:
    entries = {}
    for model in models:
        for column, subset in (("S4", "s4"), ("MS3", "ms3")):
            runs = [book.training("avs", model, seed, subset=subset) for seed in seeds]
            scored = tuple(book.evaluation(run, subset=subset) for run in runs)
            entries[model.label, column] = Entry(scored, paper=_known(paper.TABLE1, model, column))
        whole = _stepping_stones if model.name == "aavs" else _alone
        scored = tuple(whole(book, model, seed) for seed in seeds)
        entries[model.label, "AVSS"] = Entry(scored, paper=_known(paper.TABLE1, model, "AVSS"))
    first, *others = (model.label for model in models)
    return Plan(
        "table1", "Table 1: every model on the three tasks", "model", entries,
        tuple(((first, column), (other, column)) for column in ("S4", "MS3", "AVSS") for other in others),
        ("AVSS: aavs in two stages, on the priors its own stage 1 predicts; the other models in one stage.",),
    )  # fmt: skip


def _table2(book: CellBook, models: Sequence[Model], seeds: Sequence[int]) -> Plan:
    entries = {}
    for model in models:
        alone = tuple(_alone(book, model, seed) for seed in seeds)
        entries[model.label, "alone"] = Entry(alone, paper=_known(paper.TABLE2, model, "alone"))
        two_stage = [book.training("avss", model, seed, prior="oracle") for seed in seeds]
        priors: dict[str, Prior | str] = {name: book.simulated(miou) for name, miou in LEVELS.items()}
        for column, prior in {**priors, "oracle": "oracle"}.items():
            scored = tuple(book.evaluation(run, prior) for run in two_stage)
            entries[model.label, column] = Entry(scored, paper=_known(paper.TABLE2, model, column))
    return Plan(
        "table2", "Table 2: Stepping Stones on every model", "model", entries,
        tuple(((m.label, column), (m.label, "alone")) for m in models for column in (*LEVELS, "oracle")),
        ("One training on the oracle prior for the three columns: they differ in the prior that testing gives it.",),
    )  # fmt: skip


def _table3(book: CellBook, models: Sequence[Model], seeds: Sequence[int]) -> Plan:
    entries = {}
    for row, without in (("repeated", ("adaptive-query",)), ("adaptive", ())):
        for column, task, subset in (("S4", "avs", "s4"), ("MS3", "avs", "ms3"), ("AVSS", "avss", "all")):
            runs = [
                book.training(task, models[0], seed, subset=subset, without=without, freeze_backbone=True)
                for seed in seeds
            ]
            scored = tuple(book.evaluation(run, subset=subset) for run in runs)
            entries[row, column] = Entry(scored, paper=paper.TABLE3.get((row, column), paper.NOTHING))
    return Plan(
        "table3", "Table 3: how the queries hear", "query", entries,
        tuple((("adaptive", column), ("repeated", column)) for column in ("S4", "MS3", "AVSS")),
        ("The backbone is frozen. AVSS in one stage, so that nothing differs but the query.",),
    )  # fmt: skip


VARIANTS = {
    "full": (),
    "w/o mask fusion": ("mask-fusion",),
    "w/o robust keys": ("robust-keys",),
    "w/o both": ("mask-fusion", "robust-keys"),
    "w/o mask initialization": ("mask-initialization",),
}


def _table4(book: CellBook, models: Sequence[Model], seeds: Sequence[int]) -> Plan:
    entries = {}
    priors = [book.predicted(book.training("avs", models[0], seed)) for seed in seeds]
    for row, without in VARIANTS.items():
        runs = [book.training("avss", models[0], seed, prior="oracle", without=without) for seed in seeds]
        actual = tuple(book.evaluation(run, prior) for run, prior in zip(runs, priors, strict=True))
        best = tuple(book.evaluation(run, "oracle") for run in runs)
        for column, scored in (("predicted", actual), ("oracle", best)):
            entries[row, column] = Entry(scored, paper=paper.TABLE4.get((row, column), paper.NOTHING))
    parts = [row for row in VARIANTS if row != "full"]
    return Plan(
        "table4", "Table 4: what stage 2 does with the prior", "variant", entries,
        tuple((("full", column), (row, column)) for column in ("predicted", "oracle") for row in parts),
        ("Each variant is trained once, on the oracle prior, and tested on the predicted and on the oracle prior.",
         "The row without mask initialization is not in the paper."),
    )  # fmt: skip


def _alignment(book: CellBook, models: Sequence[Model], seeds: Sequence[int]) -> Plan:
    subsets = _test_subsets(book)
    entries, differences = {}, []
    for model in models:
        kinds = {
            # Nearest is how semantic labels shrink: all three are compared with the same masks.
            "stage 1": [book.evaluation(book.training("avs", model, seed), binary_labels="nearest") for seed in seeds],
            SINGLE: [_alone(book, model, seed) for seed in seeds],
            "Stepping Stones": [_stepping_stones(book, model, seed) for seed in seeds],
        }
        prefix = "" if len(models) == 1 else f"{model.label}: "
        for kind, evaluations in kinds.items():
            score = {"mIoU": "miou" if kind == "stage 1" else "avs_miou"}
            for subset in subsets:
                known = paper.ALIGNMENT.get((kind, subset), paper.NOTHING) if model.name == "aavs" else paper.NOTHING
                entries[prefix + kind, subset] = Entry(tuple(evaluations), score, subset, known)
        pairs = [("stage 1", SINGLE), ("Stepping Stones", SINGLE), ("stage 1", "Stepping Stones")]
        differences += [((prefix + a, subset), (prefix + b, subset)) for a, b in pairs for subset in subsets]
    return Plan(
        "alignment", "Alignment: semantic masks scored as sounding masks", "trained", entries, tuple(differences),
        ("Every class counts as sounding, on the same frames and masks for all: the argument of the paper's Fig. 1 "
         "and 4, that a model trained for classes in one go localises worse than one trained to localise.",),
    )  # fmt: skip


def _prior_curve(book: CellBook, models: Sequence[Model], seeds: Sequence[int]) -> Plan:
    entries = {}
    for model in models:
        entries[model.label, SINGLE] = Entry(tuple(_alone(book, model, seed) for seed in seeds))
        runs = [book.training("avss", model, seed, prior="oracle") for seed in seeds]
        priors: dict[str, Prior | str] = {f"{miou:g}": book.simulated(miou) for miou in CURVE}
        for column, prior in {**priors, "oracle": "oracle"}.items():
            entries[model.label, column] = Entry(tuple(book.evaluation(run, prior) for run in runs))
    levels = [*(f"{miou:g}" for miou in CURVE), "oracle"]
    return Plan(
        "prior-curve", "Prior curve: stage 2 by the accuracy of its prior", "model", entries,
        tuple(((model.label, level), (model.label, SINGLE)) for model in models for level in levels),
        ("Columns are the mIoU of simulated priors; 1 is the oracle. One training on the oracle prior for all.",),
    )  # fmt: skip


EXPERIMENTS: dict[str, Callable[[CellBook, Sequence[Model], Sequence[int]], Plan]] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "table4": _table4,
    "alignment": _alignment,
    "prior-curve": _prior_curve,
}
PARTS_OF_AAVS = ("table3", "table4")
NEEDED_SUBSETS = {"table1": ("s4", "ms3"), "table3": ("s4", "ms3")}


def plan_experiment(name: str, book: CellBook, models: Sequence[Model], seeds: Sequence[int]) -> Plan:
    """Say what stands where.

    Args:
        name: of `EXPERIMENTS`.
        models: names of models, the one that the others are compared with first.
    Raises: AvsctlError: If the dataset lacks what the table needs, or a model can't do it.
    """
    _check_dataset(name, book.place.clips)
    others = [model.label for model in models if model.name != "aavs"]
    if name in PARTS_OF_AAVS and (others or len(models) > 1):
        what = f"{others[0]} can't do {name}, which" if others else f"{name}"
        raise AvsctlError(f"{what} switches parts of one aavs off. Use --models aavs, or leave it out.")
    return EXPERIMENTS[name](book, models, seeds)


def _check_dataset(name: str, clips: ClipCache) -> None:
    if clips.label_kind != "semantic":
        raise AvsctlError(
            f"{name} needs labels that name classes, and those of {clips.path} are binary. "
            f"Run 'avsctl prepare avsbench --root DIR' on AVSBench-semantic."
        )
    for subset in (*NEEDED_SUBSETS.get(name, ()), "all"):
        for split in SPLITS:
            try:
                clips.select(split=split, subset=subset)
            except AvsctlError as error:
                raise AvsctlError(f"{name} needs clips of subset {subset}, split {split}: {error}") from None


def _alone(book: CellBook, model: Model, seed: int) -> Evaluation:
    return book.evaluation(book.training("avss", model, seed))


def _stepping_stones(book: CellBook, model: Model, seed: int) -> Evaluation:
    """Both stages of a model, as one uses them."""
    prior = book.predicted(book.training("avs", model, seed))
    return book.evaluation(book.training("avss", model, seed, prior="oracle"), prior)


def _known(numbers: Mapping[Where, paper.Number], model: Model, column: str) -> paper.Number:
    return numbers.get((model.name, column), paper.NOTHING)


def _test_subsets(book: CellBook) -> list[str]:
    clips = book.place.clips
    return [*sorted({clips.subsets[i] for i in clips.select(split=book.place.split)}), "all"]
