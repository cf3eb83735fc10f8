import re
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

from launch.cluster.kubernetes import TPUS, KubernetesOptions, launch_kubernetes
from launch.config import DistributedConfig
from launch.process.distributed import Membership, detect
from launch.schema.command_line import parse
from tests.advice import followed, without

AWKWARD = 'text:it\'s $(HOME) $$ "x" \\ é: # *.txt'
NEEDED: dict[str, Any] = {"image": "reg.example/meshloom:1", "claim": "runs"}


def rendered(capsys: pytest.CaptureFixture[str], *words: str, **options: Any) -> dict[str, Any]:
    """The JobSet of `train tiny WORDS`, as any YAML reader sees it."""
    launch_kubernetes(KubernetesOptions(**(NEEDED | options)), ["train", "tiny", *words])  # type: ignore[arg-type]
    return yaml.safe_load(capsys.readouterr().out)


def job_of(jobset: dict[str, Any]) -> dict[str, Any]:
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


def container_of(jobset: dict[str, Any]) -> dict[str, Any]:
    return job_of(jobset)["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nodes": 4, "gpus_per_node": 8, "cpus_per_node": "32", "memory_per_node": "256Gi"},
        {"tpu": "v5e-256", "namespace": "lab", "name": "big", "max_restarts": 5},
    ],
)
def test_published_schema_takes_it_and_knows_every_field(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    jobset = rendered(capsys, **options)
    read = JobsetV1alpha2JobSet.from_dict(jobset)
    # The models leave out what they do not know.
    assert read is not None and read.to_dict() == jobset


def test_schema_would_notice_a_misspelt_field_and_a_wrong_type(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobset = rendered(capsys)
    container_of(jobset)["imag"] = "x"
    read = JobsetV1alpha2JobSet.from_dict(jobset)
    assert read is not None and read.to_dict() != jobset
    jobset = rendered(capsys)
    job_of(jobset)["parallelism"] = "two"
    with pytest.raises(ValueError, match="parallelism"):
        JobsetV1alpha2JobSet.from_dict(jobset)


def test_pods_find_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    jobset = rendered(capsys, name="big", nodes=3, gpus_per_node=8)
    environment = {entry["name"]: entry["value"] for entry in container_of(jobset)["env"]}
    assert environment["JAX_PLATFORMS"] == "cuda,cpu"
    job = detect(DistributedConfig(), environment | {"JOB_COMPLETION_INDEX": "2"})
    assert job == Membership("kubernetes", "big-workers-0-0.big:8476", 3, 2)
    assert jobset["spec"]["network"] == {"enableDNSHostnames": True, "subdomain": "big"}
    spec = job_of(jobset)
    assert (spec["completionMode"], spec["parallelism"], spec["completions"]) == ("Indexed", 3, 3)


def test_refusals_end_it_and_all_else_restarts_all_pods(capsys: pytest.CaptureFixture[str]) -> None:
    jobset = rendered(capsys)
    job = job_of(jobset)
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    [rule] = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [1, 2])
    assert rule["onExitCodes"]["containerName"] == container_of(jobset)["name"]
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 100
    [refused] = policy["rules"]
    assert refused["action"] == "FailJobSet"
    assert refused["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_every_word_reaches_the_container(capsys: pytest.CaptureFixture[str]) -> None:
    jobset = rendered(
        capsys,
        "--data.sources",
        AWKWARD,
        "--train.optimizer.learning-rate",
        "1e-3",
        "--wandb",
        "on",
    )
    container = container_of(jobset)
    assert container["command"] == ["meshloom"]
    # As the kubelet expands them: $$ is $, and $(NAME) would be a variable.
    assert not any(re.search(r"(?<!\$)(\$\$)*\$\(", word) for word in container["args"])
    words = [word.replace("$$", "$") for word in container["args"]]
    assert words == [
        *("train", "tiny", "--data.sources", AWKWARD),
        *("--train.optimizer.learning-rate", "1e-3", "--wandb", "on"),
        *("--run-dir", "/runs/tiny", "--data.cache-dir", "/runs/cache", "--resume-or-start"),
    ]


def test_what_other_yaml_readers_take_for_numbers_is_quoted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "tiny", "--train.optimizer.learning-rate", "1e-3", "--wandb", "on"]
    launch_kubernetes(KubernetesOptions(**NEEDED), words)
    text = capsys.readouterr().out
    assert '- "1e-3"\n' in text and '- "on"\n' in text
    assert "&id" not in text


def test_pods_have_no_rights_they_do_not_need(capsys: pytest.CaptureFixture[str]) -> None:
    jobset = rendered(capsys, nodes=2, gpus_per_node=8)
    pod = job_of(jobset)["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container_of(jobset)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of(jobset)["volumeMounts"]}
    assert mounts == {"runs": "/runs", "shm": "/dev/shm"}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    assert container_of(jobset)["resources"]["limits"] == {"nvidia.com/gpu": "8"}


@pytest.mark.parametrize(
    ("tpu", "label", "topology", "nodes"),
    [
        ("v5e-256", "tpu-v5-lite-podslice", "16x16", 64),
        ("v5e-8", "tpu-v5-lite-podslice", "2x4", 2),
        ("v6e-4", "tpu-v6e-slice", "2x2", 1),
        ("v5p-128", "tpu-v5p-slice", "4x4x4", 16),
        ("v4-8", "tpu-v4-podslice", "2x2x1", 1),
    ],
)
def test_slice_selects_its_nodes(
    tpu: str, label: str, topology: str, nodes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    jobset = rendered(capsys, tpu=tpu)
    assert job_of(jobset)["template"]["spec"]["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": label,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    assert job_of(jobset)["completions"] == nodes
    assert container_of(jobset)["resources"]["limits"] == {"google.com/tpu": "4"}
    # JAX asks GKE for the workers; our own variables would come before that.
    assert container_of(jobset)["env"] == [{"name": "JAX_PLATFORMS", "value": "tpu,cpu"}]


def test_topologies_have_as_many_chips_as_the_name_says() -> None:
    for kind, (_, topologies) in TPUS.items():
        for size, topology in topologies.items():
            chips = 1
            for side in topology.split("x"):
                chips *= int(side)
            assert size == chips * (2 if kind in ("v4", "v5p") else 1), (kind, size)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("image", value)
            for value in ("", "a b", "x\ny", "Meshloom", "a/B:1", "a:b:c", "a@sha256:1")
        ),
        *(("name", value) for value in ("Tiny", "9x", "x-", "", "a" * 64, "a.b", "a_b")),
        *(("claim", value) for value in ("", "Runs", "a/b")),
        *(("claim", value) for value in ("a..b", "a.-b", "a" * 254)),
        *(("namespace", value) for value in ("a b", "a.b", "-a")),
        *(
            ("memory_per_node", value)
            for value in ("lots", "0Gi", "64 Gi", "64", "64m", "9Ei", "1e9e9")
        ),
        *(("cpus_per_node", value) for value in ("0", "-1", "1m", "1.0005", "1e6")),
        *(("tpu", value) for value in ("v5e", "v9-8", "v5e-7", "v5p-6", "")),
    ],
)
def test_unfit_flag_is_refused(field: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"(?s)^{field}=.* must .*, because .*; try --{field[:3]}"
    ):
        KubernetesOptions(**(NEEDED | {field: value}))

    def read(words: list[str]) -> KubernetesOptions:
        return parse(KubernetesOptions, words, prog="meshloom launch k8s")

    needed = ["--image", "reg.example/meshloom:1", "--claim", "runs"]
    flag = f"--{field.replace('_', '-')}"
    assert len(followed(read, [*without(needed, flag), f"{flag}={value}"])) == 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (
            "image",
            ["a", "REG:5000/a/b_c:V1", "a.b/c:1@sha256:" + "0a" * 32],
        ),
        ("claim", ["runs", "9", "a.b-c", "a" * 63 + ".b"]),
        ("namespace", ["9x", "a-b"]),
        ("memory_per_node", ["64Gi", "1.5Ti", "64e9", "64E9", "68719476736", "1P", ".5Ti", "+8G"]),
        ("cpus_per_node", ["8", "500m", "1.5", "0.100", "8.", "1e1", "64k"]),
    ],
)
def test_what_kubernetes_takes_is_taken_as_it_is_written(field: str, values: list[str]) -> None:
    for value in values:
        options: dict[str, Any] = NEEDED | {field: value}
        assert getattr(KubernetesOptions(**options), field) == value


@pytest.mark.parametrize("other", [{"nodes": 4}, {"gpus_per_node": 8}])
def test_slice_comes_alone(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must not come with tpu=v5e-16"):
        KubernetesOptions(image="x", claim="y", tpu="v5e-16", **other)
    words = ["--image", "x", "--claim", "y", "--tpu", "v5e-16", "--nodes", "4", "--gpus-per-node=8"]
    assert len(followed(lambda w: parse(KubernetesOptions, w, prog="k8s"), words)) == 2


def test_name_leaves_room_for_those_of_the_pods(capsys: pytest.CaptureFixture[str]) -> None:
    rendered(capsys, name="a" * 44, nodes=11)
    with pytest.raises(ValueError, match=rf"must be at most 44 letters.*; try --name {'a' * 43}$"):
        rendered(capsys, name="a" * 43 + "--a", nodes=11)


@pytest.mark.parametrize("path", ["runs/a", "/tmp/a", "/runs/../a"])
def test_run_outside_the_claim_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"run_dir=.* must lie in /runs"):
        launch_kubernetes(KubernetesOptions(**NEEDED), ["train", "tiny", "--run-dir", path])


def test_what_the_words_give_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    jobset = rendered(
        capsys, "--run-dir", "/runs/a/b", "--data.cache-dir", "/runs/c", "--resume-or-start"
    )
    words = ["train", "tiny", "--data.cache-dir", "/runs/c", "--resume-or-start"]
    assert container_of(jobset)["args"] == [*words, "--run-dir", "/runs/a/b"]
