"""Sweeps on a Slurm of one node, started here; skipped where its programs are not installed."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="no Slurm here"),
]
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/daemon.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/daemon.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(holds: Callable[[], object], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.5)


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Sockets have short names.
    folder = Path("/tmp") / f"slurm-{os.getpid()}"
    for made in (folder, folder / "state", folder / "spool"):
        made.mkdir()
    key, conf = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    words = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser()}
    ports = {"controller": free_port(), "daemon": free_port()}
    conf.write_text(CONFIGURATION.format(folder=folder, cores=os.cpu_count(), **words, **ports))
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    daemons = [
        ["munged", "-F", "--force", f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        started = []
        for daemon in daemons:
            started.append(subprocess.Popen(daemon, stderr=subprocess.DEVNULL))
            time.sleep(1)
        try:
            until(lambda: "idle" in said("sinfo", "-h"), 30)
            yield
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def preempt(job: str) -> None:
    said("sbatch", "-p", "high", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2")


def warn(job: str) -> None:
    said("scancel", "--signal=USR1", job)


@pytest.mark.parametrize("interrupt", [preempt, warn])
def test_a_job_that_slurm_interrupts_is_queued_again_and_goes_on(
    interrupt: Callable[[str], None], cluster: None, tmp_path: Path
) -> None:
    words = ["-m", "seed=0", "recipe=smoke", "recipe.epochs=40", "test=[centre]", "device=cpu"]
    words += ["checkpoint_seconds=5", f"runs={tmp_path}", "hydra/launcher=submitit_slurm"]
    words += [f"hydra.launcher.{key}" for key in ("partition=low", "cpus_per_task=1", "mem_gb=2")]
    with (tmp_path / "said").open("w") as log:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "repro.run", *words], stdout=log, stderr=log
        )
        try:
            until(lambda: sweep.poll() is not None or list(tmp_path.glob("A-*/log.csv")))
            (job,) = said("squeue", "-h", "-o", "%A", "-p", "low").split()
            interrupt(job)
            until(lambda: "Restarts=1" in said("scontrol", "show", "job", job))
            # Slurm would wait for two minutes, counted from when the job's last process has ended.
            again = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            until(lambda: list(tmp_path.glob("A-*/result.json")) or subprocess.call(again) < 0)
        finally:
            sweep.kill()
            subprocess.run(["scancel", "-p", "low"], check=True)
    outputs = tmp_path.glob(".hydra/submitit/*/*_log.*")
    assert any("goes on at epoch" in output.read_text() for output in outputs)


def test_no_job_is_queued_that_would_wait_for_what_another_makes(
    cluster: None, tmp_path: Path
) -> None:
    words = ["-m", "arch=B,C", "init=from_A", "recipe=smoke", "test=[centre]", "device=cpu"]
    words += [f"runs={tmp_path}", "hydra/launcher=submitit_slurm"]
    words += [f"hydra.launcher.{key}" for key in ("partition=low", "cpus_per_task=1", "mem_gb=2")]
    most = 0
    until(lambda: not said("squeue", "-h", "-p", "low"))
    with subprocess.Popen([sys.executable, "-m", "repro.run", *words]) as sweep:
        while sweep.poll() is None:
            queued = len(said("squeue", "-h", "-o", "%A", "-p", "low").split())
            if not list(tmp_path.glob("A-*/result.json")):
                most = max(most, queued)
            time.sleep(0.5)
    assert sweep.returncode == 0
    assert most == 1
    assert {path.parent.name[0] for path in tmp_path.glob("*/result.json")} == {*"ABC"}
