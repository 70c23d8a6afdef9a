"""``torchrun --nproc-per-node N -m ludwig_losses.distributed train ...``: ``ludwig train`` on several ranks."""

from __future__ import annotations

import logging
import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run ``ludwig train`` on this rank; return 2 with a message on standard error for a mistake of the user."""
    arguments = sys.argv[1:] if arguments is None else arguments
    usage = "torchrun --nproc-per-node 2 -m ludwig_losses.distributed train --config CONFIG --dataset DATA"
    if arguments[:1] != ["train"]:
        given = f"'{arguments[0]}'" if arguments else "nothing"
        print(
            f"Only train runs on several ranks; got {given}. Write `{usage}`, and run other commands as `ludwig ...`.",
            file=sys.stderr,
        )
        return 2
    if "RANK" not in os.environ:
        print(f"Start this with torchrun: `{usage}`.", file=sys.stderr)
        return 2

    import ludwig.train
    from torch import distributed

    from ludwig_losses.host.ranks import torchrun

    torchrun.use_data_parallel_backend()
    if int(os.environ["RANK"]) > 0:
        logging.disable(logging.INFO)  # Each message once is enough.
    ludwig.train.cli(arguments[1:])
    distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
