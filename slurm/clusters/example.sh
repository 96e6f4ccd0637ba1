# A cluster with accounts, modules and InfiniBand. Copy it to NAME.sh, and choose it with CLUSTER=NAME, or name it as
# SLURM names the cluster (scontrol show config | grep ClusterName).
#
# It is read twice: by slurm/chain.sh before it submits, and in every job. To submit a single job with its partition
# and account, read it into your shell first: source slurm/clusters/NAME.sh

# For sbatch. These variables stand above the #SBATCH lines of a file, and below the options of a command line.
export SBATCH_PARTITION=gpu
export SBATCH_ACCOUNT=my-project

# Options for a stage of a chain; what you set in the environment goes first.
: "${SHARD_OPTIONS:=--partition=cpu --array=0-15 --cpus-per-task=16 --time=12:00:00}"
: "${PRETRAIN_OPTIONS:=--nodes=8 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=16 --time=24:00:00}"
: "${PROBE_OPTIONS:=--gpus-per-node=1 --cpus-per-task=16 --time=2:00:00}"
: "${FINETUNE_OPTIONS:=--nodes=1 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=16 --time=12:00:00}"
: "${EXPORT_OPTIONS:=--gpus-per-node=1 --cpus-per-task=8 --time=1:00:00}"
export SHARD_OPTIONS PRETRAIN_OPTIONS PROBE_OPTIONS FINETUNE_OPTIONS EXPORT_OPTIONS

# In jobs only.
if [ -n "${SLURM_JOB_ID:-}" ]; then
  module load cuda
  export NCCL_SOCKET_IFNAME=ib0 # the interface on which tasks meet; gloo's has a variable of its own
  export GLOO_SOCKET_IFNAME=ib0
  export NCCL_IB_HCA=mlx5
fi
