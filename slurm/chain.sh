#!/usr/bin/env bash
# A chain of stages as jobs: each starts when what it reads is made, and none when that has failed.
#
#     slurm/chain.sh CHAIN.yaml [key=value ...]
#
# Run from the root of the project, with the words of `python -m pipeline chain`. How many nodes a stage gets stands in
# slurm/clusters/, or is given here: PRETRAIN_OPTIONS="--nodes=2 --ntasks-per-node=8" slurm/chain.sh CHAIN.yaml
set -euo pipefail
source slurm/common.sh
job submit "$@"
