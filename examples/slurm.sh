#!/bin/bash
# Trains on two nodes of a Slurm cluster, one process on each, whose towers are the GPUs of the node.
#
# sbatch examples/slurm.sh
#
# Submit it from the folder of the package, which all nodes need to see, with the data, the checkpoint to start from and
# the folder of the logs. Change: --nodes; --gpus-per-node together with --gpu_num; --cpus-per-task; --time; the flags of
# train.py. Many clusters need --partition and --account too. scancel ends the job for good.
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

source .venv/bin/activate || exit 2

# srun ends with the highest code of all processes. So that an error of one of them, 1 or 2, is not hidden by the 75 of
# the others, it is passed on as 251 or 252. So is a missing python, 126 or 127. The shell waits for its process if it
# gets a signal too.
task='trap : USR1 TERM INT; "$@"; code=$?; case $code in 1|2) code=$((code + 250));; 126|127) code=252;; esac; exit $code'

# The others notice the end of a process themselves: srun does not kill them while they write a snapshot, but after 300 s
# a process that is stopped or hangs, which would keep the nodes. srun does not take --cpus-per-task from sbatch.
srun --distribution=block --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 --wait=300 bash -c "$task" task \
    python train.py --hosts slurm --database Cityscapes --gpu_num 4 --batch_size 2 --auto_resume 1
code=$?

# 1 and 2 are errors that another start does not cure. After 75, or when a process was killed, the run goes on, 20 times
# at most.
case $code in 251|252) exit $((code - 250));; esac
if [ "$code" -gt 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
