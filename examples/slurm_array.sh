#!/bin/bash
# One sweep on many nodes of a Slurm cluster: each task of the array does one share of it, in the same run directory.
#
#   sbatch slurm_array.sh                                            # prints the number of the job
#   sbatch --dependency=afterany:NUMBER slurm_timing.sh              # times the networks and writes the report
#
# A task that failed, ran out of time or was preempted is submitted again: sbatch --array=3 slurm_array.sh. It goes on
# where it was.
#SBATCH --job-name=sparsebench
#SBATCH --array=1-4
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
##SBATCH --gpus=1

# As many shares as --array above has tasks. It stands here, for SLURM_ARRAY_TASK_COUNT is another number when only some
# of the tasks are submitted again.
SHARDS=${SHARDS:-4}

# exec, so that Slurm's warning before the time is up reaches sparsebench, which then ends in good order. The number of
# threads is part of what a result depends on: it is the same in all tasks, whatever their nodes have.
exec sparsebench run "${CONFIG:-sweep.toml}" \
    --shard "${SLURM_ARRAY_TASK_ID:?submit this file with sbatch}/$SHARDS" \
    --runs-dir "${RUNS_DIR:-runs}" \
    --set "run.threads=${SLURM_CPUS_PER_TASK:-1}"
