"""What slurm/*.sbatch and slurm/chain.sh call; `python -m pipeline` is for people.

launch STAGE CONFIG [key=value ...]            run a stage as this job
sweep STAGE CONFIG FILE [key=value ...]        the same, with overrides from the line of FILE for this task
preflight TASKS STAGE CONFIG [key=value ...]   check this node; prints what it found as a line of JSON
submit CHAIN [key=value ...]                   a chain as jobs that wait for one another
conclude DIR                                   the last job of a chain: its summary, or what is missing
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_shards.errors import UserError
from pipeline.errors import JobError


def main(words: Sequence[str]) -> int:
    """Run one of the commands; gives the exit status."""
    try:
        return _run(list(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2


def _run(words: list[str]) -> int:
    match words:
        case ["launch", stage, *rest]:
            from pipeline.jobs.launch import launch
            from pipeline.jobs.target import Target

            return launch(Target.of(stage, rest))
        case ["sweep", stage, config, lines, *rest]:
            from pipeline.jobs.launch import launch
            from pipeline.jobs.sweep import chosen

            return launch(chosen(stage, config, Path(lines), rest))
        case ["preflight", tasks, stage, *rest]:
            from pipeline.jobs.preflight import examine
            from pipeline.jobs.target import Target

            gpus = int(os.environ.get("SLURM_GPUS_ON_NODE", "0"))
            print(examine(Target.of(stage, rest), int(tasks), gpus).line(), flush=True)
            return 0
        case ["submit", recipe, *rest]:
            from pipeline.jobs.submit import submit

            print(submit(recipe, rest), flush=True)
            return 0
        case ["submit"]:
            raise JobError("chain.sh", "no recipe was given", "name one", "slurm/chain.sh configs/chain/demo.yaml")
        case ["conclude", directory]:
            from pipeline.jobs.submit import conclude

            return conclude(Path(directory))
    known = "launch STAGE CONFIG, sweep STAGE CONFIG FILE, preflight TASKS STAGE CONFIG, submit CHAIN, conclude DIR"
    raise JobError("pipeline.jobs", f"{' '.join(words) or 'nothing'!r} is none of its commands", f"they are {known}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
