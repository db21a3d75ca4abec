#!/usr/bin/env bash
# A Slurm cluster of this machine alone, for one command and the jobs that it submits: munged, slurmctld and slurmd in a temporary directory, gone afterwards.
# usage: scripts/slurm-on-one-machine.sh COMMAND [ARGUMENT…]     needs Debian's slurm-wlm and munge; works as root or as a user
# The one node pretends to have an SM 8.6 GPU (gres gpu:1, feature sm86), so that constraints of job files can be tried.
set -euo pipefail

if [ $# -lt 1 ]; then
  echo "usage: $0 COMMAND [ARGUMENT…]" >&2
  exit 2
fi
for tool in munged mungekey slurmctld slurmd sbatch; do
  if ! PATH=$PATH:/usr/sbin command -v "$tool" > /dev/null; then
    echo "$tool is missing: apt-get install slurm-wlm munge" >&2
    exit 3
  fi
done
export PATH=$PATH:/usr/sbin

dir=$(mktemp -d)
pids=()
cleanup() {
  # The last started first; jobs end with slurmd's own order to them.
  scancel --quiet --user="$(id -un)" 2> /dev/null || true
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2> /dev/null || true
    wait "${pids[i]}" 2> /dev/null || true
  done
  if [ "${KEEP_SLURM:-}" ]; then echo "kept $dir" >&2; else rm -rf "$dir"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_ports() {
  node -e '
    const { createServer } = require("node:net");
    const open = () => new Promise(resolve => { const s = createServer().listen(0, () => resolve(s)); });
    Promise.all([open(), open()]).then(all => {
      console.log(all.map(s => s.address().port).join(" "));
      all.forEach(s => s.close());
    });'
}
read -r controller node < <(free_ports)
host=$(hostname -s)
cores=$(nproc)
memory=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)

# A key of its own: the machine's munge, where it has one, stays as it is.
chmod 755 "$dir"
mkdir -p "$dir/munge" "$dir/state" "$dir/spool"
chmod 700 "$dir/munge"
mungekey --create --keyfile="$dir/munge/key"
munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge.socket" --pid-file="$dir/munge/pid" \
  --seed-file="$dir/munge/seed" --log-file="$dir/munge/log" > "$dir/munged.out" 2>&1 &
pids+=($!)

cat > "$dir/slurm.conf" << END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
GresTypes=gpu
DependencyParameters=kill_invalid_depend
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory Gres=gpu:1 Features=sm86 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
echo "NodeName=$host Name=gpu File=/dev/null" > "$dir/gres.conf"
export SLURM_CONF=$dir/slurm.conf

logs() {
  echo "$1" >&2
  tail -n 20 "$dir"/*.log "$dir"/*.out "$dir"/munge/log >&2 2> /dev/null || true
  exit 1
}
within() {
  local tries=$1
  shift
  for ((i = 0; i < tries; i++)); do
    if "$@" > /dev/null 2>&1; then return; fi
    sleep 0.2
  done
  logs "gave up after $tries tries: $*"
}
within 50 test -S "$dir/munge.socket"
slurmctld -D -i > "$dir/slurmctld.out" 2>&1 &
pids+=($!)
within 50 scontrol ping
slurmd -D -N "$host" > "$dir/slurmd.out" 2>&1 &
pids+=($!)
idle() { sinfo --noheader --format=%t | grep -qx idle; }
within 100 idle

status=0
"$@" || status=$?
while squeue --noheader 2> /dev/null | grep -q .; do sleep 0.5; done
exit "$status"
