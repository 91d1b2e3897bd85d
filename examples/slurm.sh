#!/bin/bash
# Trains on two nodes of a Slurm cluster, one process on each, whose towers are the GPUs of the node.
#
# sbatch examples/slurm.sh
#
#SBATCH --job-name=pspnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time is over, every process writes its snapshot and ends with exit code 75.
#SBATCH --signal=USR1@120

source .venv/bin/activate

# The others notice the end of a process themselves: srun does not kill them while they write a snapshot.
srun --distribution=block --kill-on-bad-exit=0 --wait=0 \
    python train.py --hosts slurm --database Cityscapes --gpu_num 4 --batch_size 2 --auto_resume 1
code=$?

# 1 and 2 are errors that another start does not cure. After 75, or when a process was killed, the run goes on. The code
# is the highest of all processes: if one fails with 2 and the others with 75, the job is tried again, 20 times at most.
if [ "$code" -gt 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
