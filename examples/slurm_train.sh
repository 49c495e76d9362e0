#!/bin/bash
# A run on several machines under Slurm: torchrun on each node, requeued when its time is up.
#
#   sbatch examples/slurm_train.sh stage=mvm model=vit_b data.train=s3://bucket/webvid data.batch_size=2048 \
#       train.precision=bf16 out=s3://bucket/runs/vit_b
#
# The arguments are those of `python -m train`. `out` is a folder that all nodes share, or an s3:// URL. The same job
# goes on from the newest checkpoint there, so that requeueing it, by Slurm or by hand, loses nothing but the steps since.
#SBATCH --job-name=vidloom
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=vidloom-%j.log
# Slurm tells the batch script ten minutes before the end of the time, and the script tells the run.
#SBATCH --signal=B:USR1@600
set -euo pipefail

gpus_per_node="${SLURM_GPUS_ON_NODE:-8}"
nodes="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"
first_node="${nodes%%$'\n'*}"
# A port of this job's own: two jobs may share the first node.
port=$((20000 + SLURM_JOB_ID % 20000))

# Decoding threads share the processors with the ranks; give each rank its part.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

stopping=0
stop() {
    stopping=1
    # torchrun hands SIGTERM on; each rank ends its step, writes a checkpoint and leaves with status 130.
    scancel --signal=TERM "$SLURM_JOB_ID.0"
}
trap stop USR1 TERM

srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_NNODES" \
    --nproc-per-node "$gpus_per_node" \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$first_node:$port" \
    --max-restarts 3 \
    --shutdown-timeout 300 \
    -m train "$@" &
run=$!

# A trapped signal ends the wait before the run has ended.
status=0
wait "$run" || status=$?
while kill -0 "$run" 2>/dev/null; do
    status=0
    wait "$run" || status=$?
done

if [ "$stopping" -eq 1 ] && [ "$status" -ne 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
