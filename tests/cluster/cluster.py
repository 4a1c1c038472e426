"""A real SLURM cluster of two nodes on this machine, for tests and for trying things out.

    python tests/cluster/cluster.py start DIR     install what is missing (as root), configure, start
    python tests/cluster/cluster.py env DIR       print what a shell needs:  eval "$(... env DIR)"
    python tests/cluster/cluster.py stop DIR      cancel all jobs, end all daemons and what they started

Nodes n1 and n2, partitions cpu (default), gpu, gpu_low and gpu_high (jobs of gpu_high preempt those of
gpu_low), two GPUs a node (symlinks to /dev/null). All state lies in DIR, on ports that were free, for root as
for an ordinary user; any number of clusters run side by side. No accounting; the only account is `lab`. Needs
Python and the Debian packages slurm-wlm, munge and tcc (a small C compiler: for a node with a wrong clock),
which `install` alone installs too.
"""

import argparse
import fcntl
import os
import pwd
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "srun": "slurm-wlm",
    "tcc": "tcc",
}
NODES = ("n1", "n2")
# The daemons have it in their environment, what they start inherits it: so stop finds them all.
MARK = "SEGTRAIL_TEST_CLUSTER"
LONGEST_SOCKET = 107
KILL_WAIT = 5  # seconds between SIGTERM and SIGKILL to a job

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost=localhost
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
# No cgroups: they need root, and a machine that is not itself a container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# More CPUs and memory than the machine has may be claimed.
SlurmdParameters=config_overrides
DefMemPerCPU=500
GresTypes=gpu
ReturnToService=2
JobRequeue=1
MinJobAge=300
# Short, so that tests are: what SLURM does after each of these waits is the same.
KillWait={kill_wait}
SlurmdTimeout=10
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
JobSubmitPlugins=lua
TaskProlog={folder}/task_prolog
TaskEpilog={folder}/task_epilog
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1_port} CPUs=16 RealMemory=64000 Gres=gpu:2
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2_port} CPUs=16 RealMemory=64000 Gres=gpu:2
PartitionName=cpu      Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1  PreemptMode=OFF
PartitionName=gpu      Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=1  PreemptMode=OFF
PartitionName=gpu_low  Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=1  PreemptMode=REQUEUE GraceTime=0
PartitionName=gpu_high Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
GRES_CONF = "NodeName=n[1-2] Name=gpu File={folder}/dev/gpu[0-1]\n"
# Without accounting slurmctld lets every account pass. This refuses all but one, with slurmctld's own words.
JOB_SUBMIT = """\
function slurm_job_submit(job, partitions, user)
  if job.account ~= nil and job.account ~= "lab" then return slurm.ESLURM_INVALID_ACCOUNT end
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, user) return slurm.SUCCESS end
"""
# A node whose clock is wrong, see `set_clock`: its tasks are told the shifted time, and what they have
# written bears it in the end, as on a file system that stamps with its clients' clocks. The kernel, srun and
# the daemons keep the right time: munge would refuse a node that is five minutes off.
CLOCK = """\
#ifdef __aarch64__
enum { CLOCK_GETTIME = 113 };
#else
enum { CLOCK_GETTIME = 228 };
#endif
struct parts { long seconds, rest; };
char *getenv(const char *); long atol(const char *); long syscall(long, ...);
int clock_gettime(int clock, struct parts *now) {
  char *shift = getenv("CLOCK_SHIFT");
  long status = syscall(CLOCK_GETTIME, clock, now);
  if (status == 0 && shift && (clock == 0 || clock == 5)) now->seconds += atol(shift);
  return status;
}
int gettimeofday(struct parts *now, void *zone) {
  int status = clock_gettime(0, now);
  now->rest /= 1000;
  return status;
}
long time(long *seconds) {
  struct parts now;
  clock_gettime(0, &now);
  if (seconds) *seconds = now.seconds;
  return now.seconds;
}
"""
# Batch scripts are tasks too, of a step with a huge number; the job's work is a step of its own.
TASK_PROLOG = """\
#!/bin/sh
[ -e {folder}/clock.$SLURMD_NODENAME ] && [ "$SLURM_STEP_ID" -lt 1000000 ] || exit 0
touch {folder}/began.$SLURM_JOB_ID.$SLURM_STEP_ID
echo export LD_PRELOAD={folder}/clock.so
echo export CLOCK_SHIFT=$(cat {folder}/clock.$SLURMD_NODENAME)
"""
TASK_EPILOG = """\
#!/bin/sh
[ -e {folder}/began.$SLURM_JOB_ID.$SLURM_STEP_ID ] || exit 0
unset LD_PRELOAD
then=$(($(date +%s) + $(cat {folder}/clock.$SLURMD_NODENAME)))
find results -newer {folder}/began.$SLURM_JOB_ID.$SLURM_STEP_ID -exec touch -c -d @$then {{}} +
"""
# Snakemake's jobstep plugin strips SLURM_CONF before it calls srun. A lab's cluster has its slurm.conf in
# /etc/slurm, where srun finds it; this one's lies elsewhere, so an srun that sets it comes first on the PATH.
SRUN = """\
#!/bin/sh
SLURM_CONF={conf} exec {srun} "$@"
"""


class ClusterError(Exception):
    """What went wrong, and where to look."""


@dataclass(frozen=True)
class Daemon:
    """One of the four daemons: how it is started, and where it leaves its pid and its log."""

    name: str
    command: tuple[str, ...]
    pid_file: Path
    log: Path

    def pid(self) -> int | None:
        """The daemon's process, None if it is not running. A pid file may outlive its process."""
        if not self.pid_file.exists():
            return None
        text = self.pid_file.read_text().strip()
        pid = int(text) if text.isdigit() else 0
        return pid if pid and alive(pid) and set(self.command) <= set(command_line(pid)) else None

    def tail(self, lines: int = 15) -> str:
        if not self.log.exists():
            return f"{self.log} was not written"
        end = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"the end of {self.log}:", *end])


@dataclass(frozen=True)
class Cluster:
    """A cluster whose whole state lies in `folder`."""

    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables with which SLURM's commands talk to this cluster."""
        own = str(self.folder / "bin")
        others = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part != own]
        return {"SLURM_CONF": str(self.conf), "PATH": os.pathsep.join([own, *others])}

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        return {**base, **self.settings}

    def run(self, *command: str, check: bool = True) -> str:
        """What one of SLURM's commands prints. Raises ClusterError if it fails."""
        done = subprocess.run(
            command,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"{shlex.join(command)}: {done.stderr.strip()}")
        return done.stdout

    # --- daemons ---------------------------------------------------------------------------------

    @property
    def munged(self) -> Daemon:
        folder = self.folder / "munge"
        files = [f"--{name}-file={folder / name}" for name in ("key", "pid", "log", "seed")]
        # --force: a temporary folder is closed to others, and munged wants everybody to reach its socket.
        command = (program("munged"), "--force", f"--socket={folder / 'socket'}", *files)
        return Daemon("munged", command, folder / "pid", folder / "log")

    @property
    def slurmctld(self) -> Daemon:
        command = (program("slurmctld"), "-f", str(self.conf))
        return Daemon("slurmctld", command, self.folder / "slurmctld.pid", self.folder / "log/slurmctld.log")

    def slurmd(self, node: str) -> Daemon:
        command = (program("slurmd"), "-f", str(self.conf), "-N", node)
        log = self.folder / f"log/slurmd.{node}.log"
        return Daemon(f"slurmd of {node}", command, self.folder / f"slurmd.{node}.pid", log)

    @property
    def daemons(self) -> list[Daemon]:
        return [self.munged, self.slurmctld, *map(self.slurmd, NODES)]

    # --- start and stop --------------------------------------------------------------------------

    def start(self) -> None:
        """Starts what does not run yet; returns when both nodes take jobs. Raises ClusterError."""
        install()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._one_at_a_time():
            if not any(daemon.pid() for daemon in self.daemons):
                self._end_everything()
                self._write_files()
            for daemon in self.daemons:
                self.start_daemon(daemon)
            self.wait_until_idle()

    def start_daemon(self, daemon: Daemon) -> None:
        """Starts one daemon unless it runs. Raises ClusterError with the end of its log."""
        if daemon.pid():
            return
        done = subprocess.run(
            daemon.command,
            env=self.environment() | {MARK: str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        if done.returncode == 0 and waited(lambda: daemon.pid() is not None, 10):
            return
        raise ClusterError(
            f"{daemon.name} did not start (status {done.returncode}): {shlex.join(daemon.command)}\n"
            f"{done.stderr.strip()}\n{daemon.tail()}"
        )

    def wait_until_idle(self, seconds: float = 30) -> None:
        """Waits until both nodes are up and can take jobs."""
        if waited(lambda: set(self.node_states().values()) <= {"idle", "mixed", "allocated"}, seconds):
            return
        dead = [daemon for daemon in self.daemons if not daemon.pid()]
        tails = "\n".join(daemon.tail() for daemon in dead or self.daemons[1:])
        names = ", ".join(daemon.name for daemon in dead) or "no daemon"
        raise ClusterError(
            f"the nodes are {self.node_states()} after {seconds:g} s; {names} has ended\n{tails}"
        )

    def node_states(self) -> dict[str, str]:
        listed = self.run("sinfo", "-h", "-N", "-p", "cpu", "-o", "%N %T", check=False)
        return dict.fromkeys(NODES, "unknown") | dict(line.split() for line in listed.splitlines())

    def set_clock(self, node: str, seconds: int) -> None:
        """The clock of a node is this far ahead (negative: behind) for the jobs that begin from now on."""
        clock, library = self.folder / f"clock.{node}", self.folder / "clock.so"
        if not seconds:
            clock.unlink(missing_ok=True)
            return
        if not library.exists():
            source = library.with_suffix(".c")
            source.write_text(CLOCK)
            subprocess.run([program("tcc"), "-shared", "-nostdlib", "-o", library, source], check=True)
        clock.write_text(f"{seconds}\n")

    def stop(self) -> None:
        """Cancels all jobs and ends every process of the cluster. Does nothing where none runs."""
        if not self.folder.exists():
            return
        with self._one_at_a_time():
            if self.slurmctld.pid():
                self.run("scancel", "--user", user_name(), check=False)
                waited(lambda: not self.run("squeue", "-h", check=False).strip(), KILL_WAIT + 3)
            self._end_everything()

    def processes(self) -> list[int]:
        """Every process that belongs to this cluster: its daemons, what they started, and its jobs'."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        daemons = {daemon.pid() for daemon in self.daemons}
        return sorted(pid for pid in pids if alive(pid) and (pid in daemons or self._started(pid)))

    def _started(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it has ended meanwhile, or is another user's
            return False
        variables = environment.split(b"\0")
        if f"{MARK}={self.folder}".encode() in variables:
            return True
        # A job's environment is that of whoever submitted it.
        of_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
        return of_job and f"{self.folder}/".encode() in environment

    def _end_everything(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                send(pid, number)
                send(pid, signal.SIGCONT)
            if waited(lambda: not self.processes(), 5):
                break
        else:
            left = [f"{pid} {' '.join(command_line(pid))}" for pid in self.processes()]
            raise ClusterError("these processes do not end:\n" + "\n".join(left))
        for daemon in self.daemons:
            daemon.pid_file.unlink(missing_ok=True)

    def _write_files(self) -> None:
        """A new cluster: no job of an earlier one is remembered. Logs are kept."""
        for name in ("state", "munge", "dev", "bin", *(f"spool.{node}" for node in NODES)):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(mode=0o755)
        (self.folder / "log").mkdir(exist_ok=True)
        if len(str(self.folder / "munge" / "socket")) > LONGEST_SOCKET:
            raise ClusterError(f"the path of {self.folder} is too long for a socket; take a shorter one")
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        for number in (0, 1):
            (self.folder / "dev" / f"gpu{number}").symlink_to("/dev/null")
        ports = dict(zip(("ctld_port", "n1_port", "n2_port"), free_ports(3), strict=True))
        self.conf.write_text(
            SLURM_CONF.format(folder=self.folder, user=user_name(), kill_wait=KILL_WAIT, **ports)
        )
        (self.folder / "gres.conf").write_text(GRES_CONF.format(folder=self.folder))
        for name, script in (("task_prolog", TASK_PROLOG), ("task_epilog", TASK_EPILOG)):
            (self.folder / name).write_text(script.format(folder=self.folder))
            (self.folder / name).chmod(0o755)
        srun = self.folder / "bin" / "srun"
        (self.folder / "job_submit.lua").write_text(JOB_SUBMIT)
        srun.write_text(SRUN.format(conf=shlex.quote(str(self.conf)), srun=program("srun")))
        srun.chmod(0o755)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


# --- programs ------------------------------------------------------------------------------------


def missing() -> list[str]:
    """The Debian packages that are wanted and not installed."""
    return sorted(
        {package for name, package in PROGRAMS.items() if not shutil.which(name, path=search_path())}
    )


def install() -> None:
    """Installs what is missing, where that is possible. Raises ClusterError with the packages' names."""
    packages = missing()
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(
            f"SLURM is not installed: this needs the Debian packages {' '.join(packages)}\n"
            f"(as root: apt-get install --no-install-recommends {' '.join(packages)})"
        )
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for before in ([], ["apt-get", "update", "-qq"]):
        if before:
            subprocess.run(before, env=environment, stdin=subprocess.DEVNULL, check=False)
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and not missing():
            return
    raise ClusterError(f"{shlex.join(command)} failed:\n{done.stderr.strip()[-2000:]}")


def search_path() -> str:
    """Where programs are looked for; daemons lie in sbin, which is not on an ordinary user's PATH."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/sbin", "/sbin"]
    # The srun of another cluster that this shell has been told of is not the real one.
    return os.pathsep.join(folder for folder in folders if not Path(folder, "../slurm.conf").exists())


def program(name: str) -> str:
    """The path of a program. Raises ClusterError where it is not installed."""
    found = shutil.which(name, path=search_path())
    if found is None:
        raise ClusterError(f"{name} is not installed (Debian package {PROGRAMS[name]})")
    return found


# --- processes -----------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    """Whether a process runs. One that has ended may stay a zombie where nobody asks for its status."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not any(line.split()[1] in "ZX" for line in status.splitlines() if line.startswith("State:"))


def command_line(pid: int) -> list[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [word.decode(errors="replace") for word in words if word]


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it has ended meanwhile
        return


def waited(condition: Callable[[], bool], seconds: float, step: float = 0.1) -> bool:
    """Whether a condition came true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, below those that outgoing connections are given."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ClusterError(f"user id {os.geteuid()} has no name in /etc/passwd; SLURM needs one") from None


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("command", choices=["start", "stop", "env", "install"])
    parser.add_argument("folder", type=Path, nargs="?", help="holds all state of the cluster")
    wanted = parser.parse_args()
    if wanted.folder is None and wanted.command != "install":
        parser.error(f"{wanted.command} needs a folder")
    try:
        if wanted.command == "install":
            install()
            return
        cluster = Cluster(wanted.folder.resolve())
        if wanted.command == "env":
            for name, value in cluster.settings.items():
                print(f"export {name}={shlex.quote(value)}")
        else:
            {"start": cluster.start, "stop": cluster.stop}[wanted.command]()
    except ClusterError as error:
        sys.exit(f"cluster: {error}")


if __name__ == "__main__":
    main()
