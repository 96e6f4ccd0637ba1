"""Training: the only package that knows Lightning.

fit.py         train an objective from wherever its run stopped        settings.py      the `trainer:` part of a recipe
module.py      an objective as a LightningModule                       schedules.py     durations and learning rates
assembly.py    from the meta device to weights in their places         optimizers.py    SGD, LARS and AdamW, by recipe
sharding.py    FSDP2, HSDP, DDP                                        guarded.py       the step that all of them take
recompute.py   memory for time (fairscale)                             larc.py lars.py  layer-wise rates
placement.py   which blocks are best recomputed together               norms.py         global norms in one collective
precision.py   what is computed, sent and summed in which precision    groups.py        parameters treated alike
compiling.py   torch.compile, block by block                           loss_scaling.py  fp16
recording.py   metrics.jsonl, progress                                 prefetch.py      crops to a GPU ahead
saving.py      checkpoints every so often                              memory.py        a CPU's memory, kept
soundness.py   whether it is still about numbers                       watch.py         kNN accuracy meanwhile
tracking.py    Weights & Biases                                        observer.py      the process that measures it
pace.py        when to save: intervals.py                              deadline.py      the end of a job
agreement.py   what one process wishes, known to all                   accounting.py    where the time of a start goes
layers.py      rates along the depth                                   ema.py           an average of the weights
weights.py     what training begins with                               trained.py       what it leaves, in shards
"""
