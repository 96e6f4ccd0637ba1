"""Training: the only package that knows Lightning.

fit.py           train an objective from wherever its run stopped      settings.py    the `trainer:` part of a recipe
module.py        an objective as a LightningModule                     schedules.py   durations and learning rates
recording.py     metrics.jsonl, progress, non-finite losses            optimizers.py  SGD, LARS and AdamW, by recipe
saving.py        checkpoints every so often                            guarded.py     the step that they share
watch.py         kNN accuracy meanwhile                                groups.py      which parameters are treated alike
tracking.py      Weights & Biases                                      norms.py       of whole tensors, one collective
loss_scaling.py  for fp16                                              larc.py        layer-wise rates, as SEER had them
sharding.py      FSDP2                                                 lars.py        layer-wise rates, as in the paper
recompute.py     memory for time (fairscale)
"""
