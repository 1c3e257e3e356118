#!/bin/bash
# What is left of a sweep after slurm_array.sh: latency, and the report. Timing needs a node for itself, and one of the
# kind that you want to know about: name it with --constraint, --nodelist or --partition.
#SBATCH --job-name=sparsebench-timing
#SBATCH --ntasks=1
#SBATCH --exclusive
#SBATCH --time=01:00:00
##SBATCH --constraint=icelake

# CPUS is --cpus-per-task of slurm_array.sh: what a share has left undone is done here as it would have been there.
exec sparsebench run "${CONFIG:-sweep.toml}" \
    --runs-dir "${RUNS_DIR:-runs}" \
    --report-dir "${REPORT_DIR:-reports}" \
    --set "run.threads=${CPUS:-4}"
