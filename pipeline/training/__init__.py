"""Training: the only package that knows Lightning.

fit.py         train an objective from wherever its run stopped        settings.py    the `trainer:` part of a recipe
module.py      an objective as a LightningModule                       schedules.py   durations and learning rates
recording.py   metrics.jsonl, progress, non-finite losses              optimizers.py  SGD and AdamW, by recipe
saving.py      checkpoints every so often                              larc.py        layer-wise rates, sharded or not
watch.py       kNN accuracy meanwhile                                  recompute.py   memory for time (fairscale)
tracking.py    Weights & Biases                                        sharding.py    FSDP2
"""
