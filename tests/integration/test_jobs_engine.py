"""Jobs that go well: real processes, the contract's environment, their logs."""

import itertools
import json
import os
import shutil
import socket
import sys
import time
import tracemalloc

import pytest
from jobs_engine import (
    IMAGE,
    RunningInterpreter,
    Watched,
    job,
    jobs_engine,
    lines,
    pool,
    run,
)
from waiting import until

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs import gcs_mount, runner
from vertexkit.emulator.jobs.gpus import Gpus
from vertexkit.emulator.jobs.log_writer import header
from vertexkit.emulator.jobs.logs import JobLogs
from vertexkit.emulator.jobs.types import ContainerProgram, EndKind, PackageProgram, WorkerPool

PRINT_ENV = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def engine(tmp_path):
    with jobs_engine(tmp_path) as one:
        yield one


def env_of(engine, replica="workerpool0-0"):
    return json.loads(lines(engine, replica=replica)[0])


def test_a_job_succeeds_with_its_chief_and_leaves_its_logs_only(engine, tmp_path):
    watched = Watched()
    engine.start(job(pool("import sys; print('out'); print('err', file=sys.stderr)")), watched)
    end = watched.until_ended()
    assert (end.kind, end.replica, end.exit_code, watched.runs) == (EndKind.SUCCEEDED, "workerpool0-0", 0, 1)
    found = {(line.severity, line.text) for line in engine.logs("1").forward(replicas=["workerpool0-0"])}
    assert found == {("INFO", "out"), ("ERROR", "err")}
    assert list((tmp_path / "work" / "jobs").iterdir()) == []
    engine.delete("1")
    assert engine.logs("1") is None


def test_a_replica_has_the_environment_of_the_contract_and_nothing_of_the_callers(engine, monkeypatch):
    monkeypatch.setenv("LEAKED", "yes")
    monkeypatch.setenv("PYTHONSTARTUP", "/nonexistent")
    monkeypatch.setattr(runner, "has_driver", lambda: False)
    spec = job(
        pool(PRINT_ENV, env={"MINE": "1", "CLOUD_ML_JOB_ID": "no", "AIP_MODEL_DIR": "no", "LANG": "de_DE"}),
        base_output_uri="gs://bucket/out/",
        dataset_env={"AIP_DATA_FORMAT": "jsonl"},
    )
    assert run(engine, spec).kind is EndKind.SUCCEEDED
    env = env_of(engine)
    spelled = {name: value for name, value in env.items() if not value.startswith("/")}
    ports = json.loads(spelled.pop("CLUSTER_SPEC"))
    # What Python itself adds when it starts in the C locale.
    spelled.pop("LC_CTYPE", None)
    spelled.pop("PATH", None)
    assert spelled == {
        "AIP_MODEL_DIR": "gs://bucket/out/model/",
        "AIP_CHECKPOINT_DIR": "gs://bucket/out/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": "gs://bucket/out/logs/",
        "AIP_DATA_FORMAT": "jsonl",
        "CLOUD_ML_JOB_ID": "1",
        "CLOUD_ML_PROJECT_ID": "123456789",
        "CLOUD_ML_REGION": "us-central1",
        "GOOGLE_CLOUD_PROJECT": "a-project",
        "NO_GCE_CHECK": "true",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "",
        "LANG": "de_DE",
        "MINE": "1",
    }
    assert list(ports["cluster"]) == ["workerpool0"]
    assert any("AIP_MODEL_DIR, CLOUD_ML_JOB_ID" in line for line in lines(engine, replica="service"))


def test_every_replica_binds_the_port_that_the_others_know_it_by(engine):
    code = """
        import json, os, socket, sys, time
        config = json.loads(os.environ["TF_CONFIG"])
        task, cluster = config["task"], config["cluster"]
        assert "evaluator" not in cluster and set(cluster) == {"chief", "worker", "ps"}, cluster
        mine = cluster.get(task["type"])
        if mine:
            server = socket.create_server(("127.0.0.1", int(mine[task["index"]].split(":")[1])))
        if task["type"] == "chief":
            also = socket.create_server((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
        for address in (address for addresses in cluster.values() for address in addresses):
            deadline = time.time() + 20
            while True:
                try:
                    socket.create_connection((address.split(":")[0], int(address.split(":")[1]))).close()
                    break
                except OSError:
                    assert time.time() < deadline, address
                    time.sleep(0.02)
        print(task["type"], task["index"], os.environ["RANK"], os.environ["WORLD_SIZE"])
        time.sleep(60 if task["type"] == "ps" else 0.2)
    """
    spec = job(pool(code), pool(code, count=2), pool(code), pool(code))
    started = time.monotonic()
    assert run(engine, spec).kind is EndKind.SUCCEEDED
    assert time.monotonic() - started < 15, "parameter servers are not waited for"
    names = ["workerpool0-0", "workerpool1-0", "workerpool1-1", "workerpool2-0", "workerpool3-0"]
    said = [lines(engine, replica=name) for name in names]
    roles = ["chief 0", "worker 0", "worker 1", "ps 0", "evaluator 0"]
    assert said == [[f"{role} {rank} 5"] for rank, role in enumerate(roles)]


@pytest.mark.parametrize("way", ["unshare", "bwrap"])
def test_the_buckets_are_at_gcs_also_those_that_come_later(engine, tmp_path, monkeypatch, way):
    which = shutil.which
    monkeypatch.setattr(gcs_mount.shutil, "which", lambda name: which(name) if name == way else None)
    monkeypatch.setattr(gcs_mount.GcsMount, "_linked", lambda self: False)
    if engine._means.mount.isolation().name != way:
        pytest.skip(f"{way} is not installed, or not for us")
    bucket = tmp_path / "data" / "gcs" / "bucket"
    bucket.mkdir()
    (bucket / "in.txt").write_text("from outside")
    before = os.path.lexists("/gcs")
    code = """
        import os, time
        print(open("/gcs/bucket/in.txt").read())
        os.makedirs("/gcs/bucket/deep/er")
        open("/gcs/bucket/deep/er/out.txt", "w").write("from inside")
        print("written", flush=True)
        while not os.path.exists("/gcs/later/x"):
            time.sleep(0.02)
        print(open("/gcs/later/x").read(), os.path.exists("/etc/passwd"))
    """
    watched = Watched()
    engine.start(job(pool(code)), watched)
    until(lambda: "written" in lines(engine))
    assert (bucket / "deep" / "er" / "out.txt").read_text() == "from inside"
    later = bucket.with_name("later.new")
    later.mkdir()
    (later / "x").write_text("new")
    later.rename(bucket.with_name("later"))
    assert watched.until_ended().kind is EndKind.SUCCEEDED
    assert lines(engine) == ["from outside", "written", "new True"]
    assert os.path.lexists("/gcs") == before, "the mount point is nobody else's"


def test_without_namespaces_gcs_is_a_link_of_one_engine_and_goes_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(gcs_mount.shutil, "which", lambda name: None)
    link = tmp_path / "gcs-link"
    mine = gcs_mount.GcsMount(folder(tmp_path / "a" / "gcs"), mount_point=link)
    other = gcs_mount.GcsMount(folder(tmp_path / "b" / "gcs"), mount_point=link)
    assert mine.isolation() is gcs_mount.BY_LINK
    assert other.isolation() is gcs_mount.BY_NOTHING
    assert link.resolve() == tmp_path / "a" / "gcs"
    other.close()
    assert link.is_symlink()
    mine.close()
    assert not link.is_symlink()
    # One that was killed leaves the link, and nobody holds its lock.
    link.symlink_to(tmp_path / "a" / "gcs")
    third = gcs_mount.GcsMount(tmp_path / "b" / "gcs", mount_point=link)
    assert third.isolation() is gcs_mount.BY_LINK
    assert link.resolve() == tmp_path / "b" / "gcs"
    third.close()


def folder(path):
    path.mkdir(parents=True)
    return path


def test_without_gcs_only_a_command_that_names_it_is_refused(engine, monkeypatch):
    monkeypatch.setattr(gcs_mount.GcsMount, "_choose", lambda self: gcs_mount.BY_NOTHING)
    named = WorkerPool(ContainerProgram(IMAGE, ("sh", "-c", "pip install /gcs/bucket/p.tar.gz && true")))
    with pytest.raises(ApiError, match="/gcs") as refused:
        engine.start(job(named), Watched())
    assert refused.value.code is Code.UNIMPLEMENTED
    assert engine.logs("1") is None
    other = WorkerPool(ContainerProgram(IMAGE, ("sh", "-c", "echo /opt/gcs /gcs.txt gs://b/gcs/x")))
    assert run(engine, job(other)).kind is EndKind.SUCCEEDED
    assert any("/gcs is not there" in line for line in lines(engine, replica="service"))


def test_a_package_is_fetched_and_its_module_run_with_the_arguments(tmp_path):
    class Packages(RunningInterpreter):
        def prepare(self, image, packages, *, home, pip_settings, say, cancelled):
            assert [path.name for path in packages] == ["a-1.tar.gz", "b-1-py3-none-any.whl"]
            assert [path.read_text() for path in packages] == list(program.package_uris)
            assert home.is_dir()
            (home / "trainer.py").write_text("import sys; print(sys.argv[1:])")
            environment = super().prepare(
                image, [home], home=home, pip_settings=pip_settings, say=say, cancelled=cancelled
            )
            say("installed")
            return environment

    program = PackageProgram(IMAGE, ("gs://b/p/a-1.tar.gz", "gs://b/b-1-py3-none-any.whl"), "trainer")
    with jobs_engine(tmp_path, environments=Packages()) as engine:
        spec = job(WorkerPool(program, ("--epochs=3",)), WorkerPool(program))
        assert run(engine, spec).kind is EndKind.SUCCEEDED
        assert lines(engine) == ["['--epochs=3']"]
        service = lines(engine, replica="service")
        assert service.count("installed") == 1
        assert sum("TensorFlow" in line for line in service) == 1


def test_every_replica_has_a_fresh_home_and_keras_downloads_of_the_machine(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "keras.json").write_text('{"backend": "torch"}')
    code = """
        import os, pathlib, tempfile
        home = pathlib.Path.home()
        print(sorted(path.name for path in home.iterdir()), os.listdir("."))
        print(os.listdir(tempfile.gettempdir()))
        print(sorted(os.listdir(home / ".keras")))
        (home / ".keras" / "datasets" / "x").write_text("once")
        pathlib.Path("left").touch()
    """
    for _ in range(2):
        assert run(engine, job(pool(code))).kind is EndKind.SUCCEEDED
    # The user's settings of Keras are not those of a container.
    assert lines(engine) == ["['.keras'] []", "[]", "['datasets', 'models']"] * 2
    assert (tmp_path / "keras" / "datasets" / "x").read_text() == "once"


def test_starting_a_job_costs_little_more_than_its_program(engine):
    run(engine, job(pool("pass")))
    began = []
    for _ in range(5):
        asked = time.time()
        run(engine, job(pool("import time; print(time.time())")))
        began.append(float(lines(engine)[-1]) - asked)
    alone = []
    for _ in range(3):
        asked = time.time()
        alone.append(float(os.popen(f"{sys.executable} -c 'import time; print(time.time())'").read()) - asked)
    assert min(began) < min(alone) + 0.25, (began, alone)


def test_100000_lines_are_all_there_in_order(engine):
    code = """
        import sys
        for number in range(100_000):
            print("line", number)
    """
    assert run(engine, job(pool(code))).kind is EndKind.SUCCEEDED
    found = list(engine.logs("1").forward(replicas=["workerpool0-0"]))
    assert [line.text for line in found] == [f"line {number}" for number in range(100_000)]
    assert all(one.time_ns <= two.time_ns for one, two in itertools.pairwise(found))
    assert all(one.position < two.position for one, two in itertools.pairwise(found))


def test_reading_a_long_log_takes_no_more_memory_than_a_short_one(tmp_path):
    logs = JobLogs(tmp_path)
    for replica in ("workerpool0-0", "workerpool1-0"):
        with logs.path(replica).open("wb") as file:
            for number in range(0, 100_000_000, 1_000_000):
                for time_ns in range(10**18 + number, 10**18 + number + 500):
                    file.write(header(time_ns, "O") + b"x" * 978 + b"\n")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 100_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in logs.forward()) == 100_000
        newest = logs.backward()
        assert [next(newest).replica for _ in range(2)] == ["workerpool1-0", "workerpool0-0"]
        began = time.monotonic()
        late = 10**18 + 99_000_250
        assert next(logs.forward(since_ns=late)).time_ns == late
        assert next(logs.backward(until_ns=late)).time_ns == late
        assert time.monotonic() - began < 0.2, "it is found, not searched for"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_jobs_run_beside_each_other_and_each_id_once(engine):
    watched = [Watched() for _ in range(4)]
    for number, one in enumerate(watched):
        engine.start(job(pool("import time; time.sleep(0.5)"), job_id=str(number)), one)
    with pytest.raises(ApiError, match="runs already"):
        engine.start(job(pool("pass"), job_id="0"), Watched())
    with pytest.raises(ApiError, match="still runs"):
        engine.delete("0")
    assert {one.until_ended().kind for one in watched} == {EndKind.SUCCEEDED}


def test_gpus_go_to_one_replica_at_a_time_and_others_wait(tmp_path):
    code = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(0.6)"
    asks = pool(code, count=1, accelerator_type="NVIDIA_TESLA_K80", accelerator_count=1)
    with jobs_engine(tmp_path, gpus=Gpus(lambda: ["0", "1"])) as engine:
        first, second = Watched(), Watched()
        engine.start(job(asks, asks), first)
        first.until_running()
        engine.start(job(asks, job_id="2"), second)
        time.sleep(0.2)
        assert second.runs == 0, "it waits for a GPU"
        assert first.until_ended().kind is EndKind.SUCCEEDED
        assert second.until_ended().kind is EndKind.SUCCEEDED
        assert (lines(engine), lines(engine, replica="workerpool1-0")) == (["0"], ["1"])
        assert lines(engine, "2") == ["0"]
        assert any("retired" in line for line in lines(engine, replica="service"))
        assert any("waits for GPUs" in line for line in lines(engine, "2", "service"))


@pytest.mark.parametrize(("to_hide", "visible"), [(True, "-1"), (False, None)])
def test_without_a_gpu_the_cpu_is_used_and_the_log_says_so(tmp_path, monkeypatch, to_hide, visible):
    monkeypatch.setattr(runner, "has_driver", lambda: to_hide)
    asks = pool(PRINT_ENV, accelerator_type="NVIDIA_TESLA_T4", accelerator_count=2)
    with jobs_engine(tmp_path, gpus=Gpus(list)) as engine:
        assert run(engine, job(asks)).kind is EndKind.SUCCEEDED
        assert env_of(engine).get("CUDA_VISIBLE_DEVICES") == visible
        (said,) = [line for line in lines(engine, replica="service") if "NVIDIA_TESLA_T4" in line]
        assert "2 NVIDIA_TESLA_T4" in said and "no GPU" in said and "CPU" in said


def test_a_waiting_job_can_be_cancelled(tmp_path):
    asks = pool("import time; time.sleep(60)", accelerator_type="NVIDIA_TESLA_T4", accelerator_count=1)
    with jobs_engine(tmp_path, gpus=Gpus(lambda: ["0"])) as engine:
        first, second = Watched(), Watched()
        engine.start(job(asks), first)
        first.until_running()
        engine.start(job(asks, job_id="2"), second)
        engine.cancel("2")
        assert second.until_ended(5).kind is EndKind.CANCELLED
        assert first.end is None


def test_the_metrics_of_a_trial_are_kept(engine):
    code = """
        import os
        open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "a").write("{}\\n")
        print(os.environ["CLOUD_ML_TRIAL_ID"], os.environ["AIP_MODEL_DIR"])
    """
    assert run(engine, job(pool(code), trial_id="7", base_output_uri="gs://b/x")).kind is EndKind.SUCCEEDED
    assert lines(engine) == ["7 gs://b/x/7/model/"]
    assert engine.metrics("1").read_text() == "{}\n"
    assert engine.logs("1").replicas() == ["service", "workerpool0-0"]


def test_a_trial_that_starts_anew_reports_anew(engine, tmp_path):
    code = f"""
        import os, signal
        from pathlib import Path
        report, before = Path(os.environ["CLOUD_ML_HP_METRIC_FILE"]), Path({str(tmp_path / "before")!r})
        if not before.exists():
            before.write_text(str(report))
            report.write_text("of the first attempt")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    plan = job(pool(code), trial_id="7", restart_on_worker_restart=True)
    assert run(engine, plan).kind is EndKind.SUCCEEDED
    assert str(engine.metrics("1")) != (tmp_path / "before").read_text()
    assert not engine.metrics("1").exists()


def test_each_trial_has_the_default_place_of_metrics_to_itself(engine):
    if not engine._means.mount.isolation().mounts:
        pytest.skip("there are no namespaces here")
    code = """
        import os, time
        del os.environ["CLOUD_ML_HP_METRIC_FILE"]
        import hypertune
        reporter = hypertune.HyperTune()
        for step in range(20):
            reporter.report_hyperparameter_tuning_metric("m", os.environ["CLOUD_ML_TRIAL_ID"], step + 1)
            time.sleep(0.02)
    """
    watched = {number: Watched() for number in "12"}
    for number, watcher in watched.items():
        engine.start(job(pool(code), trial_id=number, job_id=number), watcher)
    for number, watcher in watched.items():
        assert watcher.until_ended().kind is EndKind.SUCCEEDED
        reported = [json.loads(line)["m"] for line in engine.metrics(number).read_text().splitlines()]
        assert reported == [f"{number}.0"] * 20


def test_the_memory_of_a_job_is_that_of_all_its_processes(engine):
    watched = Watched()
    hold = "import time; held = bytearray(64 * 2**20); print('held', flush=True); time.sleep(60)"
    engine.start(job(pool(hold), pool(hold, count=2)), watched)
    for replica in ("workerpool0-0", "workerpool1-0", "workerpool1-1"):
        until(lambda: lines(engine, replica=replica) == ["held"])  # noqa: B023 (called at once)
    assert 3 * 64 * 2**20 < engine.memory()["1"] < 2 * 3 * 64 * 2**20
    engine.cancel("1")
    watched.until_ended()
    assert engine.memory() == {}


def test_no_two_engines_have_a_port_at_a_time(tmp_path):
    from vertexkit.emulator.jobs.cluster_ports import ClusterPorts

    one, two = ClusterPorts(), ClusterPorts()
    taken = one.take(50) + two.take(50)
    assert len(set(taken)) == 100
    for port in taken:
        with socket.create_server(("127.0.0.1", port)):
            pass
    one.give_back(taken[:50])
    two.give_back(taken[50:])
