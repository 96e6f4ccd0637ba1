"""The stages: each reads artifacts and writes one. This table is the only list of them.

To add a stage, write `pipeline/stages/NAME.py` with

    Config                      its recipe; `out` is the run directory
    inputs(config)              the artifacts it reads: name → Input
    run(config, inputs, run)    does the work, resuming if the run directory holds some of it; gives a Result

and add its line here. Two constants are for chains: `WHOLE_CHAIN` names the key that a chain sets to its own directory,
`CHAIN_DATA` the key that it sets to its `data`. Modules are imported when their stage runs, so `shard` and `--help`
never import torch.
"""

from __future__ import annotations

STAGES = {
    "shard": "images into WebDataset shards",
    "pretrain": "shards into a pretrained checkpoint",
    "features": "a frozen network's vectors of every sample, for the evaluations that take them",
    "knn": "features into kNN accuracy, over a grid of k and temperature",
    "retrieval": "features into mean average precision and recall of a search for the same class",
    "probe": "a checkpoint into kNN and linear accuracy, beside the same network untrained",
    "linear": "frozen features or crops into linear accuracy, over a grid of rates and taps",
    "lowshot": "frozen features into accuracy from a few labels a class",
    "finetune": "a checkpoint and labels into a classifier",
    "evaluate": "a classifier and labelled shards into accuracy, calibration and what is taken for what",
    "export": "a checkpoint into safetensors, checked by reloading",
    "report": "runs into one report.html",
    "chain": "stages one after the other, each skipped when its artifact already matches",
}
"""Name and what it makes of what, in the order they are usually run."""
