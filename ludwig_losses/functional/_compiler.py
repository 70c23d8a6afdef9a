"""What the compiler of some versions of torch has to be told, found by what it is and not by its version."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext


def that_ends() -> AbstractContextManager:
    """Return a context in which torch compiles derivatives in a time that does not double with every step of a loss.

    Before it splits a graph into forward and backward, torch looks for operators that are far apart, and in 2.4 it
    walks there by every path. Through twenty steps, as those of entmax, there are more than it ever gets to the end of.
    Without that look a backward pass may compute some more again.
    """
    from torch._functorch import config, partitioners

    if "not in sorted_nodes" in inspect.getsource(partitioners.solve_min_cut):
        return nullcontext()
    known = hasattr(config, "ban_recompute_used_far_apart")
    return config.patch(ban_recompute_used_far_apart=False) if known else nullcontext()
