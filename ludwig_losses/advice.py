"""When to take a loss: what its declaration says to users about choosing it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a user needs to know to choose a loss, or to leave it.

    Args:
        need: what the user has, in a few words.
        helps: when the loss helps; completes "Helps when".
        hinders: when it does not; completes "Does not help when".
        start: the first setting to try, as YAML of the loss section.
        watch: the metrics that show whether it helps.
        page: the page of the documentation, below ``losses/``.
        question: the part of the page on choosing a loss: what is learned, classes, labels, masks, embeddings or
            numbers.
        evidence: the folder in ``examples/`` whose table shows it, if there is one.
        found: what was measured against the usual loss: helped, no difference or worse, and on how many data sets.
    """

    need: str
    helps: str
    hinders: str
    start: str
    watch: tuple[str, ...]
    page: str
    question: str = "classes"
    evidence: str = ""
    found: str = ""
