"""What a comparison is asked for, checked as far as it can be before the first run, and the runs that it means.

This needs Ludwig, which takes ten seconds to import, and what it returns does not: where Ludwig is not imported yet, a
process that is going to train does it.
"""

from __future__ import annotations

import copy
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ludwig_losses.comparison.baseline import Baseline
from ludwig_losses.comparison.plan import (
    FRAME,
    Loss,
    Run,
    check_columns,
    features_of,
    fingerprint_of,
    named_losses,
    output_index,
    plan,
    with_batch_sizes,
)
from ludwig_losses.comparison.settings import Budget, deciding_metric, losses_tried, read_budget, read_tries
from ludwig_losses.metrics.catalogue import judging, metric
from ludwig_losses.parameters import shown

if TYPE_CHECKING:
    from ludwig_losses.comparison.tuning import Tuning


def is_imported() -> bool:
    """Whether this process has imported what is needed here."""
    return "ludwig.schema.model_types.base" in sys.modules


@dataclass(frozen=True)
class Asked:
    """What a user has asked for, as :func:`ludwig_losses.compare` describes it, fit to be sent to another process.

    Args:
        config: a configuration, or the path of one.
        dataset: the path of the data, or a table without its rows.
        data: fingerprint of the data.
        path: where the runs find it.
        losses: sections by name.
        tries: text, a mapping, or a list of these.
        margins: the metrics that have one.
    """

    config: str | dict[str, Any]
    dataset: Any
    data: str
    path: str
    losses: dict[str, Loss] | None
    seeds: list[int]
    output_feature: str | None
    split: str
    noise: bool
    baseline: str | pathlib.Path | None
    tune: bool
    tries: Any
    choose_by: str | None
    budget: int | str | None
    miss_cost: float | None
    margins: Sequence[str] = ()

    @classmethod
    def of(cls, config: Any, dataset: Any, losses: Any, output: pathlib.Path, *, tries: Any, **options: Any) -> Asked:
        """Return what the arguments of a user mean.

        Raises:
            ValueError: something is not what can be a configuration, data or a loss.
            FileNotFoundError: there is no such data.
        """
        if not isinstance(config, (str, pathlib.Path, dict)):
            raise ValueError(f"--config: got {shown(config)}, expected the path of a configuration, or a dictionary.")
        named = None if losses is None else named_losses(losses)
        data, is_path = fingerprint_of(dataset), isinstance(dataset, (str, pathlib.Path))
        path = pathlib.Path(dataset) if is_path else output / FRAME.format(data)
        return cls(
            config if isinstance(config, dict) else str(config),
            dataset if is_path else dataset.iloc[:0],
            data,
            str(path.absolute()),
            named,
            tries=[*tries] if isinstance(tries, Iterable) and not isinstance(tries, (str, Mapping)) else tries,
            **options,
        )

    def planned(self) -> tuple[Planned, list[Run]]:
        """Return what is going to be compared, and the runs.

        Raises:
            ValueError: an option, the configuration or one of the losses is wrong, or the data lacks a column.
            OSError: there is no such configuration.
        """
        options = (self.seeds, self.output_feature, self.split, self.choose_by)
        found = prepared(self.config, self.dataset, self.losses, *options, data=self.data, tries=self.tries)
        _check_costs(found, self.miss_cost)
        _check_margins(found, self.margins)
        if self.baseline is not None:
            found = replace(found, baseline=Baseline.read(self.baseline))
        found = _with_choices(found, self.tune, self.tries, self.budget, self.noise)
        return found, found.runs(self.path, self.noise)


@dataclass(frozen=True)
class Planned:
    """What is going to be compared, none of which is wrong from the start.

    Args:
        config: the configuration.
        index: of the output feature.
        losses: by name, each once.
        equal: what is to be said of those that are the same.
        seeds: one run of each loss for each.
        split: the rows to measure on.
        data: fingerprint of the data.
        where: the configuration, for messages.
        decides: the metric by which a loss is taken or kept, if there is one.
        tuning: what is tried of each loss, if settings are to be chosen.
        baseline: a model that is there already, if there is one.
    """

    config: dict[str, Any]
    index: int
    losses: dict[str, Loss]
    equal: list[str]
    seeds: list[int]
    split: str
    data: str
    where: str
    decides: str | None
    tuning: Tuning | None = None
    baseline: Baseline | None = None

    def tuned(self, tries: Any, budget: Budget) -> Planned:
        """Return the same with settings to choose among."""
        from ludwig_losses.comparison import trying
        from ludwig_losses.comparison.tuning import Tuning
        from ludwig_losses.host.config.schemas import each_checked_once

        by = deciding_metric(self.config["output_features"][self.index]["type"], self.decides)
        values = read_tries(tries, self.losses)
        with each_checked_once():
            settings = trying.all_settings(self.where, self.config, self.index, self.losses, values)
        return replace(self, tuning=Tuning(by, settings, budget).within_budget(len(self.seeds)))

    def runs(self, dataset: str, noise: bool) -> list[Run]:
        """Return the runs on data at a path."""
        from ludwig_losses.comparison import candidates

        settings = {} if self.tuning is None else self.tuning.all
        losses = {name: setting.loss for name, setting in settings.items()} or self.losses
        found = plan(
            self.config,
            losses,
            self.seeds,
            index=self.index,
            dataset=dataset,
            data=self.data,
            split=self.split,
            pairing_loss=candidates.pairing_loss(self.config, self.index, losses),
            preparing_loss=candidates.preparing_loss(self.config, self.index, losses),
            noise=noise,
        )
        if not settings:
            return found if self.baseline is None else [*found, self.baseline.run(found)]
        configs = {name: setting.config(self.config, self.index) for name, setting in settings.items()}
        return [replace(run, config=configs[run.loss], validated=True) for run in found]


def _check_costs(planned: Planned, miss_cost: float | None) -> None:
    """Raise a ValueError for costs where no threshold is chosen."""
    feature = planned.config["output_features"][planned.index]
    where = "a threshold is chosen for binary features, with --split test."
    if miss_cost is not None and feature["type"] != "binary":
        raise ValueError(
            f"--miss_cost: got {miss_cost:g}, but {feature['name']!r} is a {feature['type']} feature: {where}"
        )
    if miss_cost is not None and planned.split != "test":
        raise ValueError(f"--miss_cost: got {miss_cost:g}, but --split is {planned.split}: {where}")


def _check_margins(planned: Planned, margins: Iterable[str]) -> None:
    """Raise a ValueError for the margin of a metric that the feature does not have."""
    feature = planned.config["output_features"][planned.index]
    for name in margins:
        if (features := metric(name).features) and feature["type"] not in features:
            raise ValueError(
                f"--margin: {name} is a metric of {', '.join(features)} features, but {feature['name']!r} is a "
                f"{feature['type']} feature."
            )


def _with_choices(planned: Planned, tune: bool, tries: Any, budget: int | str | None, noise: bool) -> Planned:
    """Return the same with settings to choose among, if there are some."""
    if tune or tries is not None:
        _check_tunes(planned, noise)
        return planned.tuned(tries or {}, read_budget(budget))
    if budget is not None:
        raise ValueError("--budget: more runs are for more settings, which need --tune or --try.")
    return planned


def _check_tunes(planned: Planned, noise: bool) -> None:
    if planned.split != "test":
        raise ValueError(
            f"--split: got {planned.split!r}; --tune chooses on the validation rows and measures on the test rows."
        )
    if noise:
        raise ValueError("--noise trains with the first loss as given: it cannot be combined with --tune or --try.")
    if planned.baseline is not None:
        raise ValueError("--baseline is a model as it was trained: it cannot be combined with --tune or --try.")


def prepared(
    config: str | pathlib.Path | dict[str, Any],
    dataset: Any,
    losses: Any,
    seeds: list[int],
    output_feature: str | None,
    split: str,
    choose_by: str | None,
    data: str | None = None,
    tries: Any = None,
) -> Planned:
    """Return what is going to be compared, of which all is checked that needs no other option.

    Args:
        data: fingerprint of the data, if it is known; the others are those of :class:`Asked`.

    Raises:
        ValueError: the configuration or one of the losses is wrong, or the data lacks a column.
    """
    named = None if losses is None else named_losses(losses)
    data = fingerprint_of(dataset) if data is None else data
    from ludwig_losses.comparison import candidates
    from ludwig_losses.host import dry_run
    from ludwig_losses.host.config.schemas import each_checked_once

    where = "config" if isinstance(config, dict) else str(config)
    read = with_batch_sizes(copy.deepcopy(config) if isinstance(config, dict) else dry_run.read(where))
    index, _ = output_index(read, output_feature), features_of(read, "input_features")
    head = _head(dataset)
    if head is not None:
        check_columns(read, head.columns)
    with each_checked_once():
        if named is None:
            named = candidates.default_losses(read, index)
        named = candidates.with_defaults(read, index, named)
        candidates.check(where, read, index, named)
        feature = read["output_features"][index]["type"]
        decides = judging(feature) if choose_by is None else deciding_metric(feature, choose_by)
        equal = candidates.equal_losses(read, index, named)
    # Losses that begin alike differ if values are tried of one of them.
    tried = losses_tried(tries or {})
    equal = {name: first for name, first in equal.items() if not {name, first} & tried}
    said = [
        f"{name} is {first}, with the same parameters: it is trained and counted once." for name, first in equal.items()
    ]
    named = {name: loss for name, loss in named.items() if name not in equal}
    return Planned(read, index, named, said, seeds, split, data, where, decides)


def _head(dataset: Any) -> Any:
    """Return a table, or the first row of a CSV file; ``None`` where a run will tell.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(dataset, (str, pathlib.Path)):
        return dataset
    if pathlib.Path(dataset).suffix.lower() != ".csv":
        return None
    import ludwig.utils.data_utils
    import pandas as pd

    try:
        found = ludwig.utils.data_utils.read_csv(str(dataset), pd, nrows=1)
    except pd.errors.EmptyDataError:
        raise ValueError(f"--dataset: {dataset}: the file is empty.") from None
    if not len(found):
        raise ValueError(f"--dataset: {dataset}: there are no rows.")
    return found
