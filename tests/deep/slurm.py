"""A SLURM cluster of one node on loopback, for as long as a test needs it: nothing outside its folder is changed."""

import contextlib
import os
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

__all__ = ["SlurmCluster"]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "scancel")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

# Ports, key, socket, state and logs are its own, so that several clusters can stand beside each other and beside a
# cluster that the machine belongs to. `config_overrides` lets a machine of one processor offer the two that a test
# wants; `cred_expire` is also the time that a requeued job waits before it starts again (120 s by default). No job can
# be tracked by cgroups here, which a container may not make: a process that leaves its job's tree lives on.
CONFIGURATION = """
ClusterName=bnnlib
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=10
SchedulerParameters=sched_interval=2,bf_interval=2
FirstJobId={first_job}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class SlurmCluster:
    """SLURM's two daemons and munge's, from ``with`` to the end of its block; commands are given by :meth:`run`.

    Attributes:
        folder: where configuration, state and logs lie; removed at the end.
        environment: variables with which a command finds this cluster.
    """

    @staticmethod
    def missing() -> str | None:
        """What this machine lacks to start one, in words; None if nothing."""
        if absent := [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]:
            return f"no {', '.join(absent)} here (Debian: slurm-wlm, munge)"
        if os.geteuid() != 0:
            return "slurmd starts jobs as other users, which only root may do"
        return None

    def __enter__(self) -> "SlurmCluster":
        if (lack := self.missing()) is not None:
            raise RuntimeError(lack)
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 107 characters
        self.folder.chmod(0o755)  # munge wants its socket to be reachable
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen] = []
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error) -> None:
        self._stop()

    def run(self, *command: str | Path, timeout: float = 30) -> str:
        """What a command prints that finds this cluster; an AssertionError with what it says if it fails."""
        done = subprocess.run(
            [str(part) for part in command], env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def logs(self) -> str:
        """What the daemons have written."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def processes(self) -> list[psutil.Process]:
        """Everything that runs in this cluster but the daemons: steps, jobs, and what they have started."""
        found, daemons = [], {daemon.pid for daemon in self._daemons}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid not in daemons and self._owns(process):
                    found.append(process)
        return found

    def _owns(self, process: psutil.Process) -> bool:
        """Whether a process was told of this cluster; slurmstepd, which overwrites its environment, by its socket."""
        if process.name() == "slurmstepd":
            sockets = process.net_connections(kind="unix")
            return any(str(connection.laddr).startswith(str(self.folder)) for connection in sockets)
        return process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]

    def _start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        controller_port, node_port = free_ports(2)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=self.folder,
                host=socket.gethostname().split(".")[0],
                controller_port=controller_port,
                node_port=node_port,
                cpus=max(2, os.cpu_count() or 1),
                first_job=random.randrange(1, 10_000),
            )
        )
        munge_socket = self.folder / "munge.socket"
        self._daemon(
            "munged", "--foreground", f"--key-file={key}", f"--socket={munge_socket}",
            f"--pid-file={self.folder / 'munged.pid'}", f"--seed-file={self.folder / 'munged.seed'}",
        )  # fmt: skip
        self._wait(munge_socket.exists, "munged opens its socket")
        self._daemon("slurmctld", "-D", "-c")
        self._daemon("slurmd", "-D", "-c")
        self._wait(self._idle, "the node is idle")

    def _daemon(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.log").open("w") as log:
            self._daemons.append(
                subprocess.Popen(
                    [shutil.which(program, path=PATH), *arguments],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a keyboard interrupt is the test's: the daemons are stopped in order
                )
            )

    def _idle(self) -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=self.environment, capture_output=True, text=True, timeout=30
        )
        return done.stdout.split() == ["idle"]

    def _wait(self, condition, what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            ended = [daemon.args[0] for daemon in self._daemons if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                why = f"{', '.join(ended)} ended" if ended else f"not within {seconds} s"
                raise RuntimeError(f"waiting until {what}: {why}\n{self.logs()}")
            time.sleep(0.1)

    def _stop(self) -> None:
        """Ends the daemons, the last one started first, then what jobs have left behind; removes the folder."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for _ in range(20):  # a process may have started another one meanwhile
            if not (left := self.processes()):
                break
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
