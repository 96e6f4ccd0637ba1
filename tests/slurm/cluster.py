"""A real SLURM of several nodes on this machine, for as long as the tests run. Needs root, slurm-wlm and munge.

- munged, slurmctld and a slurmd for each node are children of this process and die with it. All state is in one folder.
- Debian builds slurmd with --enable-multiple-slurmd: several run on one host, and one munged serves them all.
- Each node has a host name, a process tree, an /etc/hosts and a /dev/shm of its own (unshare). All other files are
  shared, as on a cluster's file system. So is the network: what meets at `localhost` works here, and not in earnest.
- CPUs and memory are pretended (config_overrides), so that jobs of large machines are accepted.

Two things take their time whatever is set: time limits are looked at every 30 s, and a requeued job waits for
`cred_expire` (5 s is the least) before it is started again.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "unshare", "nsenter", "setpriv")
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
{bind}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PriorityType=priority/basic
SlurmdTimeout=6
ReturnToService=2
TCPTimeout=2
MessageTimeout=10
BatchStartTimeout=10
InactiveLimit=0
KillWait=5
UnkillableStepTimeout=30
MinJobAge=7200
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=node[1-{nodes}] NodeAddr=127.0.0.1 Port=[{first}-{last}] CoresPerSocket=64 RealMemory=1000000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES DefaultTime=60 PriorityTier=10 PreemptMode=OFF
PartitionName=high Nodes=ALL DefaultTime=60 PriorityTier=100 PreemptMode=OFF
PartitionName=low Nodes=ALL DefaultTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
"""

# The first process of a node: sets it up, runs slurmd, and reaps what is left to it.
_INIT = """
hostname "$1" && mount --bind "$2/hosts" /etc/hosts && mount -t tmpfs -o mode=1777,size=1g tmpfs /dev/shm || exit 1
slurmd -D -f "$2/slurm.conf" -N "$1" &
while kill -0 $! 2>/dev/null; do wait $!; done
"""


def missing() -> str:
    """Why there can be no cluster here; empty where there can."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    if absent:
        return f"{absent[0]} is missing: apt-get install -y --no-install-recommends slurm-wlm munge"
    if os.geteuid():
        return "a SLURM with several nodes on one machine needs root"
    able = subprocess.run(["unshare", "--mount", "--uts", "--pid", "--fork", "true"], capture_output=True)
    return "" if able.returncode == 0 else "namespaces cannot be made here"


class Cluster:
    """A running cluster with nodes node1, node2, ...; a context manager."""

    def __init__(self, nodes: int = 3) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.nodes = [f"node{i}" for i in range(1, nodes + 1)]
        self.environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._configure()
            socket_file = f"--socket={self.folder}/munge.socket"
            self._spawn(
                *("munged", "munged", "--foreground", "--force", socket_file),
                *(f"--key-file={self.folder}/munge.key", f"--seed-file={self.folder}/munge.seed"),
                *(f"--pid-file={self.folder}/munge.pid", f"--log-file={self.folder}/munged.log"),
            )
            until(lambda: not self.call("munge", "-n", "-S", f"{self.folder}/munge.socket").returncode, 10, "munged")
            self._spawn("slurmctld", "slurmctld", "-D", "-c")
            for node in self.nodes:
                self._boot(node)
            until(lambda: self._up() == set(self.nodes), 30, "the nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("slurmctld", *self.nodes, "munged"):  # slurmctld first: it must not see the nodes die
            if daemon := self._daemons.pop(name, None):
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *words: str, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM."""
        environment = {**self.environment, **(extra or {})}
        return subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)

    def submit(self, *words: str | Path, **variables: str) -> str:
        """`sbatch` with these words and environment variables; gives the job's number."""
        done = self.call("sbatch", "--parsable", *map(str, words), extra=variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def facts(self, job: str) -> list[dict[str, str]]:
        """What slurmctld says of a job, a mapping for each task of an array."""
        lines = self.call("scontrol", "-o", "show", "job", job).stdout.splitlines()
        return [dict(re.findall(r"(\w+)=(.*?)(?=\s+\w+[:/\w]*=|\s*$)", line)) for line in lines if "JobId" in line]

    def wait(self, job: str, seconds: float = 60) -> str:
        """Until a job is over; gives its state, of an array the states of its tasks."""
        states: set[str] = set()

        def over() -> bool:
            states.clear()
            states.update(fact["JobState"] for fact in self.facts(job))
            return bool(states) and states <= OVER

        until(over, seconds, f"job {job}", lambda: f"it is {states}; {self.facts(job)}")
        return " ".join(sorted(states))

    def inside(self, node: str, *words: str) -> None:
        """Run a command on a node."""
        process = self._daemons[node].pid
        child = Path(f"/proc/{process}/task/{process}/children").read_text().split()[0]
        subprocess.run(["nsenter", "-t", child, "--mount", "--uts", "--pid", "--", *words], check=True)

    def crash(self, node: str) -> None:
        """Everything on a node dies at once, and slurmctld is told; by itself it takes half a minute to notice."""
        self._daemons[node].kill()
        self._daemons.pop(node).wait()
        self.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=crashed")

    def restore(self) -> None:
        """Boot the nodes that crashed, undo what was done to others, and wait until all are there."""
        for job in self.call("squeue", "-h", "-o", "%i").stdout.split():
            self.call("scancel", job)
        for node in self.nodes:
            if node not in self._daemons:
                self._boot(node)

        def idle() -> bool:
            for node in set(self.nodes) - self._up():
                self.call("scontrol", "update", f"NodeName={node}", "State=RESUME")
            return self._up(states="idle") == set(self.nodes)

        until(idle, 40, "the nodes")
        for node in self.nodes:
            self.inside(node, "mount", "-o", "remount,size=1g", "/dev/shm")

    def _configure(self) -> None:
        host, port = socket.gethostname().partition(".")[0], _free_ports(len(self.nodes) + 1)
        # Only where this host's name means 127.0.0.1 does SLURM work when bound to it alone.
        local = _resolves_to(socket.gethostname(), "127.0.0.1")
        text = _CONFIG.format(
            host=host,
            port=port,
            first=port + 1,
            last=port + len(self.nodes),
            folder=self.folder,
            nodes=len(self.nodes),
            bind="CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if local else "",
        )
        self.folder.chmod(0o755)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # the default dies without /sys/fs/cgroup
        (self.folder / "hosts").write_text(
            Path("/etc/hosts").read_text() + "".join(f"127.0.0.1 {node}\n" for node in self.nodes)
        )
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)

    def _boot(self, node: str) -> None:
        (self.folder / node).mkdir(exist_ok=True)
        own = ("--mount", "--propagation", "slave", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child=KILL")
        self._spawn(node, "unshare", *own, "bash", "-c", _INIT, "init", node, str(self.folder))

    def _spawn(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self.environment,
                start_new_session=True,
            )

    def _up(self, states: str = "idle,mixed,allocated") -> set[str]:
        return set(self.call("sinfo", "-h", "-N", "-t", states, "-o", "%N").stdout.split())


def until(
    ready: Callable[[], bool], seconds: float, what: str, told: Callable[[], str] | None = None, pause: float = 0.1
) -> None:
    """Wait; an AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s{'; ' + told() if told else ''}"
        time.sleep(pause)


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that are free; below those that Linux gives away, clear of the jobs' own."""
    for first in range(15000, 19900, count + 1):
        probes = [socket.socket() for _ in range(count)]
        try:
            for i, probe in enumerate(probes):
                probe.bind(("", first + i))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no free ports")


def _resolves_to(name: str, address: str) -> bool:
    try:
        return socket.gethostbyname(name) == address
    except OSError:
        return False
