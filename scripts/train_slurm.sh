#!/usr/bin/env bash
# A run on one or several nodes of a Slurm cluster: sbatch OPTIONS scripts/train_slurm.sh CONFIG
# [Hydra overrides], submitted at the top of a checkout that all nodes see, for example
#   sbatch --nodes=2 --gpus-per-node=4 --cpus-per-task=32 --time=24:00:00 \
#     scripts/train_slurm.sh math_qwen25_math_7b seed=1
# CONFIG is a file of configs/. Ray's head is started on the first node and a worker on each other
# one; when all have joined and are alike, the run is trained, and Ray is stopped again.
# trainer.nnodes and trainer.n_gpus_per_node are those of the job. Five minutes before the time limit
# (SIGUSR1) the run is ended, then Ray, and the job queued again, to go on from the last checkpoint.
# scancel and preemption (SIGTERM) end both at once; where PreemptMode is REQUEUE, Slurm itself queues
# a preempted job again.
#   HEAD_ADDRESS  address of the first node, such as that in a fast network (default: of its name)
#   RAY_PORT      its port, of which the next one is taken too (default: one for this job)
#   RAY_GPUS      GPUs that Ray counts on each node (default: those it finds); device=cpu needs
#                 trainer.n_gpus_per_node of them, which are only counted
#   MOST_RESTARTS how often the job may have begun again and still be queued again (default: 20)
#   PYTHON        see scripts/python.sh; more variables: scripts/train_math.sh, train_alfworld.sh
#SBATCH --job-name=holderpo
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -euo pipefail
say() { echo "train_slurm: $*" >&2; }
fail() { say "$@"; exit 2; }
[ -n "${SLURM_JOB_ID:-}" ] || fail "SLURM_JOB_ID: not set; submit this script with sbatch"
# Slurm runs a copy of this script, whose own folder says nothing.
cd "${SLURM_SUBMIT_DIR:-.}"
[ -f scripts/cluster.sh ] || fail "SLURM_SUBMIT_DIR: $PWD is no checkout; submit at the top of one"
source scripts/python.sh
source scripts/cluster.sh
shift

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
mapfile -t hosts <<< "$hosts"
first=${hosts[0]} others=$((${#hosts[@]} - 1))
port=${RAY_PORT:-$((20000 + 2 * (SLURM_JOB_ID % 5000)))}
if [[ ! $port =~ ^[1-9][0-9]{3,4}$ ]] || ((port < 1024 || port > 65534)); then
  fail "RAY_PORT: $port; give a port from 1024 to 65534, the next one is taken too"
fi
most_restarts=${MOST_RESTARTS:-20} restarts=${SLURM_RESTART_COUNT:-0}
[[ $most_restarts =~ ^[0-9]+$ ]] || fail "MOST_RESTARTS: $most_restarts; give a whole number"
address=${HEAD_ADDRESS:-$(getent ahostsv4 "$first" | awk '$1 !~ /^127\./ && !n++ {print $1}')} || true
[ -n "$address" ] || fail "HEAD_ADDRESS: not set, and $first resolves to no address; set it"
# The job's before the user's, who may know better.
set -- "trainer.nnodes=${#hosts[@]}" \
  ${SLURM_GPUS_ON_NODE:+"trainer.n_gpus_per_node=$SLURM_GPUS_ON_NODE"} "$@"
if [ "$restarts" != 0 ]; then
  # What this run has saved since goes before what it was to begin with.
  resume=$("$python" -m recipe.holderpo.run.own_checkpoint --config-name="$config" "$@") \
    || fail "trainer.resume_mode: whether the run has a checkpoint is not to be told, see above"
  set -- "$@" ${resume:+"$resume"}
fi
# srun does not take it over from sbatch.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
# Whoever else reaches the port could run what they like. Versions of Ray without tokens ignore this.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

set -m  # each command in the background is a process group, all of which gets a signal
steps=() driver='' ended_by=''
end() { ended_by=$1; [ -z "$driver" ] || kill -TERM -- "-$driver" 2> /dev/null || true; }
stop_ray() {
  trap '' USR1 TERM INT
  [ ${#steps[@]} = 0 ] || kill -TERM "${steps[@]}" 2> /dev/null || true
  wait
}
trap 'end USR1' USR1
trap 'end TERM' TERM INT
trap stop_ray EXIT

start_ray() {  # NUMBER of nodes, which of them for srun, then Ray's options
  # Ray would count the CPUs of the machine: $SLURM_CPUS_ON_NODE are the job's, on each node its own.
  # Of the options of sbatch, srun takes over some from the environment that are meant for the whole
  # job: --gpus is its number on all nodes. Ray's workers have ports of the system's choice: those of
  # its own may be taken by another job's.
  # shellcheck disable=SC2016
  env -u SLURM_GPUS srun --overlap --kill-on-bad-exit=1 --export=ALL --cpu-bind=none \
    --nodes="$1" --ntasks="$1" "$2" bash -c 'exec "$@" --num-cpus="$SLURM_CPUS_ON_NODE"' ray \
    "$python" -m ray.scripts.scripts start --block --disable-usage-stats \
    --min-worker-port=0 --max-worker-port=0 ${RAY_GPUS:+--num-gpus="$RAY_GPUS"} "${@:3}" &
  steps+=($!)
}
drive() {  # a command, which a signal or the end of Ray on a node ends too
  [ -z "$ended_by" ] || return 1
  "$@" &
  driver=$!
  while kill -0 "$driver" 2> /dev/null; do
    sleep 0.5 &
    wait $! || true  # returns at once with a signal
    for step in "${steps[@]}"; do
      if [ -z "$ended_by" ] && ! kill -0 "$step" 2> /dev/null; then
        say "Ray has ended on a node, see above; the run is ended too"
        end RAY
      fi
    done
  done
  wait "$driver"
}
finish() {  # with the STATUS of the last command, or by what has ended it
  case $ended_by in
    USR1)
      [ "$1" != 0 ] || exit 0  # the run was over itself
      stop_ray
      local job="the time is nearly over; job $SLURM_JOB_ID" why=
      if [ "$restarts" -ge "$most_restarts" ]; then
        why="has begun again $restarts times, and MOST_RESTARTS allows no more"
      elif ! scontrol requeue "$SLURM_JOB_ID"; then
        why="cannot be queued again, see above"
      fi
      [ -z "$why" ] || { say "$job $why: submit it anew to go on"; exit 1; }
      say "$job is queued again"
      exit 0 ;;
    TERM) exit 143 ;;
    RAY) exit 1 ;;
    *) exit "$1" ;;
  esac
}

start_ray 1 --nodelist="$first" --head --node-ip-address="$address" --port="$port" \
  --ray-client-server-port="$((port + 1))" --include-dashboard=false
drive timeout 300 \
  bash -c "until (: 3<> /dev/tcp/$address/$port) 2> /dev/null; do sleep 0.2; done" \
  || { [ -n "$ended_by" ] || say "Ray's head does not answer at $address:$port"; finish 1; }
[ "$others" = 0 ] || start_ray "$others" --exclude="$first" --address="$address:$port"
export RAY_ADDRESS=$address:$port
drive "${preflight[@]}" "$@" || finish $?
status=0
drive "${train[@]}" "$@" || status=$?
finish "$status"
