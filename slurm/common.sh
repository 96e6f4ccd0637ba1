# Sourced by every .sbatch file, in the project's root: the cluster's settings, then Python.
#
# What this promises a task of `python -m pipeline STAGE`, and expects of it, stands in README.md, "The contract".

if [ ! -f slurm/common.sh ]; then
  echo "error: $PWD is not the root of the project; submit from there." >&2
  exit 2
fi

# CLUSTER=name or a file, or the file named after SLURM's name of the cluster or after this host, or local.sh.
if [ -n "${CLUSTER:-}" ]; then
  settings=$CLUSTER
  [ -f "$settings" ] || settings=slurm/clusters/$CLUSTER.sh
  if [ ! -f "$settings" ]; then
    echo "error: there is no $settings; there are: $(cd slurm/clusters && echo *.sh)" >&2
    exit 2
  fi
else
  for name in "${SLURM_CLUSTER_NAME:-}" "$(hostname -s)" local; do
    settings=slurm/clusters/$name.sh
    [ -f "$settings" ] && break
  done
fi
# shellcheck source=/dev/null
source "$settings"

export PYTHON="${PYTHON:-.venv/bin/python}"

job() { # WORDS...: what pipeline/jobs does, in place of this shell
  exec "$PYTHON" -m pipeline.jobs "$@"
}
