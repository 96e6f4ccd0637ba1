# Sourced by every .sbatch file, in the project's root: the cluster's settings, then Python.
#
# What this promises a task of `python -m pipeline STAGE`, and expects of it, stands in README.md, "The contract".

if [ ! -f slurm/common.sh ]; then
  echo "error: $PWD is not the root of the project; submit from there." >&2
  exit 2
fi

# CLUSTER=name, or the file named after SLURM's name of the cluster or after this host, or local.sh.
for cluster in "${CLUSTER:-}" "${SLURM_CLUSTER_NAME:-}" "$(hostname -s)" local; do
  [ -n "$cluster" ] && [ -f "slurm/clusters/$cluster.sh" ] && break
  if [ -n "${CLUSTER:-}" ]; then
    echo "error: there is no slurm/clusters/$CLUSTER.sh; there are: $(cd slurm/clusters && echo *.sh)" >&2
    exit 2
  fi
done
# shellcheck source=/dev/null
source "slurm/clusters/$cluster.sh"

export PYTHON="${PYTHON:-.venv/bin/python}"
jobs() { # WORDS...: what pipeline/jobs does, in place of this shell
  exec "$PYTHON" -m pipeline.jobs "$@"
}
