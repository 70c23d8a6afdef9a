"""Probabilities before and after Ludwig's ``calibration: true``, from the logits of a run that had none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ludwig_losses.comparison.outcome import LOGITS
from ludwig_losses.comparison.page import Section
from ludwig_losses.comparison.results import Results
from ludwig_losses.metrics.functional.classes import of_probabilities

# What is shown of them; in the result of a run the values before and after, and the temperature.
MEASURED = {"log_loss": "log loss", "expected_calibration_error": "calibration error"}
_ROUNDING = 1e-4

Kept = Mapping[str, np.ndarray]


def calibrated(
    held_out: Kept, validation: Kept, temperature: Callable[[np.ndarray, np.ndarray], float]
) -> dict[str, Any] | None:
    """Return the temperature of the validation rows, and what it makes of the held-out rows; ``None`` where
    probabilities are not the softmax of the logits, so that Ludwig refuses, or does already, what it would change.

    Args:
        held_out: the arrays of a run, with its logits.
        validation: the same of its validation rows.
        temperature: fits one to logits and class indices.
    """
    if not all(
        np.allclose(of["probabilities"], of_logits(of[LOGITS]), atol=_ROUNDING) for of in (held_out, validation)
    ):
        return None
    found = temperature(validation[LOGITS], validation["truth"])
    both = [
        of_probabilities(held_out["truth"], probabilities)
        for probabilities in (held_out["probabilities"], of_logits(held_out[LOGITS] / found))
    ]
    return {"temperature": found, **{name: [values[name] for values in both] for name in MEASURED}}


def of_logits(logits: np.ndarray) -> np.ndarray:
    """Return probabilities ``[N, C]`` of logits ``[N, C]``, or ``[N]`` of two classes."""
    exact = torch.from_numpy(logits).double()
    if exact.ndim == 1:
        return torch.stack([(-exact).sigmoid(), exact.sigmoid()], dim=1).numpy()
    return exact.softmax(dim=1).numpy()


def rescaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities ``[N, C]`` with their logits divided by a temperature."""
    return of_logits(np.log(probabilities.astype(np.float64).clip(np.finfo(np.float32).tiny)) / temperature)


def temperatures(results: Results, loss: str) -> dict[int, float]:
    """Return the temperature of each seed of a loss that has one."""
    kept = {
        seed: results.found[loss, seed].get("calibration") for seed in results.seeds if (loss, seed) in results.found
    }
    return {seed: found["temperature"] for seed, found in kept.items() if found}


def summary(results: Results) -> dict[str, dict[str, Any]]:
    """Return by loss the median of the temperatures of the seeds, and the means of each metric before and after."""
    found: dict[str, dict[str, Any]] = {}
    for loss in results.losses:
        runs = [results.found[key].get("calibration") for key in results.found if key[0] == loss]
        known = [run for run in runs if run]
        if known:
            means = {name: np.mean([run[name] for run in known], axis=0).tolist() for name in MEASURED}
            found[loss] = {"temperature": float(np.median([run["temperature"] for run in known])), **means}
    return found


def sections(results: Results, names: Mapping[str, str]) -> list[Section]:
    """Return the table of what calibration would change, if it would of any loss.

    Args:
        results: of the runs.
        names: what the losses are called in tables.
    """
    found = summary(results)
    if not found:
        return []
    headers = ["loss", "temperature", *(part for name in MEASURED.values() for part in (name, "calibrated"))]
    lines = [
        [names[loss], f"{of['temperature']:.2f}", *(f"{value:.4f}" for name in MEASURED for value in of[name])]
        for loss, of in found.items()
    ]
    said = [
        "With `calibration: true` Ludwig divides the logits by a temperature that it fits to the validation rows. Here "
        "it was fitted by the same computation to the validation rows of each seed, and measured on the test rows of "
        "that seed: means of the seeds, of the temperature the median."
    ]
    others = [
        names[loss] for loss in results.losses if loss not in found and any(of == loss for of, _ in results.found)
    ]
    if others:
        said.append(f"Not of {', '.join(others)}: the probabilities are not the softmax of the logits.")
    return [Section("Calibration", headers, lines, said)]
