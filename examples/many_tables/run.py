"""Which loss helps on tables in general? ``python examples/many_tables/run.py PART FOLDER`` compares over many.

PART is ``imbalance``, ``tuned``, ``order``, ``noise``, ``tails`` or ``anomalies`` (see anomalies.py). Each table is one
call of ``ludwig_losses.compare``, whose runs are kept below the folder: an interrupted call goes on. ``PART.csv`` has
the numbers of each run, ``PART.md`` what they say, ``PART.svg`` a picture; ``table.md`` joins the parts that are there.
No setting is chosen but where a row of the table says "tuned": on the validation rows of each table and seed.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anomalies
import numpy as np
import pandas as pd
import rounded
from summary import COMMON_CLASSES, DIGITS, RARE_CLASSES, write
from tables import COMMON, RARE, imbalanced, long_tails, one_of_each_source, ordered, several_classes

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent))
from one_process import runs_in_this_process  # noqa: E402

TRAINING, VALIDATION, TEST = 0, 1, 2
SHARES = {TRAINING: 0.5, VALIDATION: 0.2, TEST: 0.3}
CROSS_ENTROPY = {"type": "softmax_cross_entropy"}
SEEDS = 3
WRONG = (0.0, 0.2, 0.4)
TABLES_WITH_NOISE, MOST_ROWS_WITH_NOISE = 12, 2000
TABLES_WITH_CHOICES = 8
TEMPERED = "tempered_softmax_cross_entropy"
# Chooses the split and the wrong labels of a table, which are the same for all seeds.
SEED_OF_NOISE = 1


@dataclass(frozen=True)
class Part:
    """A question to many tables.

    Args:
        tables: frames with the columns ``values`` and ``target``, and ``split`` if all seeds share one.
        losses: sections by name, the reference first, for a table.
        metrics: those to show, the deciding one first.
        seeds: how many.
        tries: values by loss and parameter, for a table.
        choose_by: the metric that chooses among them on the validation rows.
        as_number: whether rows of number features, which predict the rank of the class, stand beside them.
    """

    tables: Callable[[], dict[str, pd.DataFrame]]
    losses: Callable[[pd.DataFrame], dict[str, dict[str, Any]]]
    metrics: tuple[str, ...]
    seeds: int
    tries: Callable[[pd.DataFrame], Mapping[str, Mapping[str, list[Any]]]] = field(default=lambda table: {})
    choose_by: str = "accuracy"
    as_number: bool = False


def for_imbalance(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        "cross-entropy": CROSS_ENTROPY,
        "class weights": {**CROSS_ENTROPY, "class_weights": balancing(table)},
        "focal_loss, default": {"type": "focal_loss"},
        "focal_loss, balanced": {"type": "focal_loss", "alpha": {COMMON: 0.25, RARE: 0.75}},
        "poly_loss": {"type": "poly_loss"},
        "logit_adjusted_loss": {"type": "logit_adjusted_loss"},
    }


def with_choices() -> dict[str, pd.DataFrame]:
    return dict([*one_of_each_source().items()][:TABLES_WITH_CHOICES])


def for_choosing(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What :func:`to_choose` has settings for, and cross-entropy as it is."""
    return {
        "cross-entropy": CROSS_ENTROPY,
        "cross-entropy, tuned": {**CROSS_ENTROPY, "class_weights": balancing(table)},
        "focal_loss, tuned": {"type": "focal_loss", "alpha": {COMMON: 0.25, RARE: 0.75}, "gamma": 2.0},
    }


def to_choose(table: pd.DataFrame) -> dict[str, dict[str, list[Any]]]:
    """With and without class weights; three gammas, each without and with more weight on the rare class."""
    alphas = [{COMMON: 1 - alpha, RARE: alpha} for alpha in (0.5, 0.75)]
    return {
        "cross-entropy, tuned": {"class_weights": [{COMMON: 1, RARE: 1}]},
        "focal_loss, tuned": {"alpha": alphas, "gamma": [0.5, 2.0, 5.0]},
    }


def balancing(table: pd.DataFrame) -> dict[str, float]:
    """Return the class weights that give all classes the same sum."""
    shares = table.target.value_counts(normalize=True)
    return {name: round(1 / share / len(shares), 4) for name, share in shares.items()}


def for_order(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {"cross-entropy": CROSS_ENTROPY, "corn": {"type": "corn", "order": sorted(table.target.unique())}}


def for_noise(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The settings with which the pages of the losses begin, and one to choose others for."""
    return {
        "cross-entropy": CROSS_ENTROPY,
        TEMPERED: {"type": TEMPERED, "t1": 0.2, "t2": 2.0},
        f"{TEMPERED}, tuned": {"type": TEMPERED, "t1": 0.8, "t2": 1.2},
        "generalized_cross_entropy": {"type": "generalized_cross_entropy", "q": 0.7},
    }


def for_tails(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        "cross-entropy": CROSS_ENTROPY,
        "class weights": {**CROSS_ENTROPY, "class_weights": balancing(table)},
        "focal_loss, default": {"type": "focal_loss"},
        "focal_loss, class weights": {"type": "focal_loss", "class_weights": "balanced"},
        "logit_adjusted_loss": {"type": "logit_adjusted_loss"},
    }


def with_wrong_labels() -> dict[str, pd.DataFrame]:
    """Each table with 0, 20 and 40 % of its training and validation rows named after another class."""
    tables = list(several_classes().items())[:TABLES_WITH_NOISE]
    return {f"{name}, {share:.0%} wrong": wrong_labels(table, share) for name, table in tables for share in WRONG}


def wrong_labels(table: pd.DataFrame, share: float) -> pd.DataFrame:
    table = table[:MOST_ROWS_WITH_NOISE]
    generator = np.random.default_rng(SEED_OF_NOISE)
    split = generator.choice(list(SHARES), len(table), p=list(SHARES.values()))
    names, truth = np.unique(table.target, return_inverse=True)
    # The rows with a low number are wrong, so that those of 20 % are also wrong at 40 %.
    other = (truth + generator.integers(1, len(names), len(table))) % len(names)
    wrong = (generator.random(len(table)) < share) & (split != TEST)
    return table.assign(target=names[np.where(wrong, other, truth)], split=split)


PARTS = {
    "imbalance": Part(imbalanced, for_imbalance, ("average_precision", "balanced_accuracy", "macro_f1", "log_loss"), 5),
    "tuned": Part(
        with_choices,
        for_choosing,
        ("average_precision", "balanced_accuracy", "macro_f1", "log_loss"),
        SEEDS,
        to_choose,
        choose_by="average_precision",
    ),
    "order": Part(
        ordered,
        for_order,
        ("rank_mae", "quadratic_weighted_kappa", "accuracy", "log_loss"),
        SEEDS,
        as_number=True,
    ),
    "noise": Part(
        with_wrong_labels,
        for_noise,
        ("accuracy", "log_loss", "expected_calibration_error"),
        SEEDS,
        lambda table: {f"{TEMPERED}, tuned": {"t1": [0.2, 0.8], "t2": [1.2, 2.0]}},
    ),
    "tails": Part(
        long_tails,
        for_tails,
        (
            "balanced_accuracy",
            "macro_f1",
            RARE_CLASSES,
            COMMON_CLASSES,
            "accuracy",
            "log_loss",
            "expected_calibration_error",
        ),
        5,
    ),
}


def config(table: pd.DataFrame) -> dict[str, Any]:
    """A small network. The epoch with the lowest loss on the validation rows is kept, Ludwig's early stopping."""
    shared = "split" in table
    stratified = {"type": "stratify", "column": "target", "probabilities": list(SHARES.values())}
    return {
        "input_features": [
            {"name": "values", "type": "vector", "encoder": {"type": "dense", "num_layers": 1, "output_size": 32}}
        ],
        "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 32},
        "output_features": [{"name": "target", "type": "category"}],
        "preprocessing": {"split": {"type": "fixed", "column": "split"} if shared else stratified},
        "trainer": {
            "epochs": 15,
            "early_stop": 4,
            "validation_metric": "loss",
            "batch_size": 64,
            "eval_batch_size": 4096,
            "learning_rate": 0.01,
        },
    }


def measure(name: str, folder: pathlib.Path) -> pd.DataFrame:
    """Return the metrics of each table, loss and seed."""
    import ludwig_losses

    part = PARTS[name]
    found = []
    tables = part.tables()
    with runs_in_this_process():
        for number, (table_name, table) in enumerate(tables.items(), 1):
            output = folder / name / table_name.replace(" ", "_").replace("%", "")
            losses = part.losses(table)
            result = ludwig_losses.compare(
                config(table),
                table,
                losses,
                seeds=part.seeds,
                output_directory=output,
                quiet=True,
                **choosing(part.tries(table), losses, part.choose_by),
            )
            if result.attrs["failed"]:
                raise RuntimeError(f"{table_name}: {result.attrs['failed']}")
            if part.as_number:
                result = pd.concat([result, rounded.measure(config(table), table, part.seeds, output)])
            if RARE_CLASSES in part.metrics:
                result = pd.concat([result, *of_thirds(result, table)])
            shown = result[result.metric.isin(part.metrics)]
            found.append(shown.assign(table=table_name)[["table", "loss", "seed", "metric", "value"]])
            print(f"{number} of {len(tables)}: {table_name}", flush=True)
    return pd.concat(found, ignore_index=True)


def of_thirds(result: pd.DataFrame, table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the mean recall of the rarest and of the most frequent third of the classes."""
    names = [*table.target.value_counts().index]
    third = len(names) // 3
    thirds = {RARE_CLASSES: names[-third:], COMMON_CLASSES: names[:third]}
    return [mean_recall(result, of).assign(metric=metric) for metric, of in thirds.items()]


def mean_recall(result: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    recalls = result[result.metric.isin([f"recall[{name}]" for name in names])]
    return recalls.groupby(["loss", "seed"], sort=False, as_index=False).value.mean()


def choosing(tries: Mapping[str, Any], losses: Mapping[str, Any], choose_by: str) -> dict[str, Any]:
    """Return how `compare` chooses settings. Nothing is tried of the losses that are not named."""
    if not tries:
        return {}
    return {"tries": {name: dict(tries.get(name, {})) for name in losses}, "choose_by": choose_by}


def seconds(folder: pathlib.Path) -> float:
    """Return how long the runs took, which an interrupt does not change."""
    import json

    results = (json.loads(path.read_text()) for path in folder.glob("*/runs/*/result.json"))
    return sum(result["seconds"] for result in results)


def main(name: str, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if name == "anomalies":
        frame, metrics = anomalies.measure(folder / name), anomalies.METRICS
    else:
        frame, metrics = measure(name, folder), PARTS[name].metrics
    frame["value"] = frame["value"].round(DIGITS)
    # Metrics in the order of the part.
    frame = frame.sort_values("metric", key=lambda column: column.map(metrics.index), kind="stable")
    write(frame, name, folder, seconds(folder / name))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
