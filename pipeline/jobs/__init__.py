"""Runs as jobs of a cluster: submitted, started on nodes that are fit, stopped, started again, and looked at.

target.py      what a job is to run and where, read from its recipe without torch
submit.py      a chain into jobs that wait for one another
launch.py      one start of a job: preflight, tasks, and what follows when they end
preflight.py   whether a node is fit to train on
starts.py      each start of a run and how it ended; whether another one is worth it
slurm.py       the only file that talks to SLURM
status.py      how far runs are, with SLURM or without

`python -m pipeline.jobs` is what slurm/*.sbatch call. Nothing here imports torch, but for the preflight of a GPU.
"""
