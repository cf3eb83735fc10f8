"""A run on Kubernetes: renders the JobSet that starts it on every node and restarts it as one."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from data.errors import UserError
from data.fields import Count
from launch.cluster.quantity import require_quantity
from launch.cluster.training import Training, training
from launch.exit_codes import REFUSED, USAGE
from launch.run.path import run_path

JOBSET = Path(__file__).with_name("jobset.yaml")
RUNS = "/runs"  # where the claim is mounted
PORT = 8476

NOT_TEXT = {"y", "yes", "n", "no", "on", "off", "true", "false", "null"}
SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
SUBDOMAIN = re.compile(rf"(?=.{{1,253}}$){LABEL.pattern}(\.{LABEL.pattern})*")
NAMES = {
    "name": (SERVICE, "1 to 63 small letters, digits and -, a letter first"),
    "namespace": (LABEL, "1 to 63 small letters, digits and -"),
    "claim": (SUBDOMAIN, "labels of small letters, digits and - with dots between"),
}
# As github.com/distribution/reference writes it: [HOST[:PORT]/]PATH[:TAG][@DIGEST].
WORD = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{{1,5}})?/)?{WORD}(/{WORD})*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})?"
)

FLAT = {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
# By TensorCores, of which these chips have two.
CUBE = {8: "2x2x1", 16: "2x2x2", 32: "2x2x4", 64: "2x4x4", 128: "4x4x4", 256: "4x4x8"}
CUBE |= {512: "4x8x8", 1024: "8x8x8", 2048: "8x8x16", 4096: "8x16x16", 8192: "16x16x16"}
# GKE's label and the topology of each size, as cloud.google.com/kubernetes-engine/docs/concepts/
# plan-tpus lists them.
TPUS = {
    "v4": ("tpu-v4-podslice", CUBE),
    "v5e": ("tpu-v5-lite-podslice", FLAT),
    "v5p": ("tpu-v5p-slice", CUBE),
    "v6e": ("tpu-v6e-slice", FLAT),
}
CHIPS_PER_NODE = 4


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions:
    """Print the JobSet of a run as YAML, for `kubectl apply --filename -`.

    The cluster needs JobSet and a claim that all pods can write at once.

    After the flags come `train PRESET` and flags of it.
    """

    image: str
    """Container image, as built from containers/Dockerfile."""
    claim: str
    """PersistentVolumeClaim (ReadWriteMany) that holds the runs; it is mounted at /runs."""
    name: str | None = None
    """Name of the JobSet and of the run in /runs; the preset, if not given."""
    namespace: str | None = None
    """Namespace; kubectl's own if not given."""
    nodes: Annotated[int, Interval(ge=1, le=100_000)] | None = None
    """Pods of one process each; 1 if not given, and for a TPU as many as it has hosts."""
    gpus_per_node: Annotated[int, Interval(ge=1, le=1024)] | None = None
    """GPUs of each pod."""
    tpu: str | None = None
    """TPU slice of GKE, such as v5e-256 or v5p-128."""
    cpus_per_node: str | None = None
    """CPUs of each pod, such as 8 or 7500m."""
    memory_per_node: str | None = None
    """Memory of each pod, such as 64Gi."""
    max_restarts: Count = 100
    """Restarts of all pods after which the JobSet fails."""

    def __post_init__(self) -> None:
        if not IMAGE.fullmatch(self.image):
            raise UserError(
                f"image={self.image!r} must name a container image, HOST/PATH:TAG with a path of "
                "small letters, because every pod runs it; try --image REGISTRY/meshloom:TAG"
            )
        for name, (pattern, words) in NAMES.items():
            value = getattr(self, name)
            if value is not None and not pattern.fullmatch(value):
                raise UserError(
                    f"{name}={value!r} must be {words}, because Kubernetes names things so "
                    f"(RFC 1123 and 1035); try --{name} {_as_label(value)}"
                )
        require_quantity("cpus_per_node", self.cpus_per_node)
        require_quantity("memory_per_node", self.memory_per_node)
        if self.tpu is not None:
            for name in ("nodes", "gpus_per_node"):
                if getattr(self, name) is not None:
                    raise UserError(
                        f"{name}={getattr(self, name)} must not come with tpu={self.tpu}, because "
                        f"the slice determines its hosts; try without --{name.replace('_', '-')}"
                    )
            _slice(self.tpu)


def launch_kubernetes(options: KubernetesOptions, command: Sequence[str]) -> None:
    """Print the JobSet of `command` (train PRESET ...). Raises ValueError."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what YAML readers may not take for text, such as 1e-3; repeats, never refers."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        plain = re.fullmatch(r"[A-Za-z][\w./-]*", text) and text.lower() not in NOT_TEXT
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')

    Dumper.add_representer(str, quoted)
    template = yaml.safe_load(JOBSET.read_text(encoding="utf-8"))
    jobset = _filled(template, _values(options, training(command)))
    text = yaml.dump(jobset, Dumper=Dumper, sort_keys=False, width=1000)
    print("# Written by `meshloom launch k8s`, for kubectl apply.\n" + text, end="")


def _filled(part: Any, values: Mapping[str, object]) -> Any:
    """A part of JOBSET with values for its $NAMEs; what has none is left out."""
    if isinstance(part, dict):
        filled = {name: _filled(value, values) for name, value in part.items()}
        return {name: value for name, value in filled.items() if value is not None}
    if isinstance(part, list):
        return [_filled(value, values) for value in part]
    return values[part] if isinstance(part, str) and part.startswith("$") else part


def _values(options: KubernetesOptions, run: Training) -> dict[str, object]:
    """What the $NAMEs of JOBSET stand for. Raises ValueError."""
    name = options.name or _as_label(run.options.run.preset)
    nodes, selector, annotations = options.nodes or 1, None, None
    resources: dict[str, str] = {}
    environment = {"JAX_PLATFORMS": "cpu"}
    if options.tpu is not None:
        label, topology, nodes = _slice(options.tpu)
        selector = {
            "cloud.google.com/gke-tpu-accelerator": label,
            "cloud.google.com/gke-tpu-topology": topology,
        }
        exclusive = "alpha.jobset.sigs.k8s.io/exclusive-topology"
        annotations = {exclusive: "cloud.google.com/gke-nodepool"}
        resources["google.com/tpu"] = str(CHIPS_PER_NODE)
        # GKE sets where the workers of a slice are, and JAX reads that.
        environment = {"JAX_PLATFORMS": "tpu,cpu"}
    else:
        if options.gpus_per_node:
            resources["nvidia.com/gpu"] = str(options.gpus_per_node)
            environment = {"JAX_PLATFORMS": "cuda,cpu"}
        environment["JAX_COORDINATOR_ADDRESS"] = f"{name}-workers-0-0.{name}:{PORT}"
        environment["JAX_NUM_PROCESSES"] = str(nodes)
    of_pods = f"-workers-0-{nodes - 1}-abcde"
    longest = 63 - len(of_pods)
    if len(name) > longest:
        raise UserError(
            f"name={name} must be at most {longest} letters, because the names of pods, which end "
            f"in {of_pods}, may have 63; try --name {name[:longest].rstrip('-')}"
        )
    tolerations = [{"key": d, "operator": "Exists", "effect": "NoSchedule"} for d in resources]
    if options.cpus_per_node:
        resources["cpu"] = options.cpus_per_node
    if options.memory_per_node:
        resources["memory"] = options.memory_per_node
    return {
        "$name": name,
        "$namespace": options.namespace,
        "$annotations": annotations,
        "$restarts": options.max_restarts,
        "$nodes": nodes,
        # All other codes, and lost nodes, restart the run.
        "$final": [REFUSED, USAGE],
        "$selector": selector,
        "$tolerations": tolerations or None,
        "$image": options.image,
        # Kubernetes would replace $(NAME); $$ stands for $.
        "$words": [word.replace("$", "$$") for word in _words(run, name)],
        "$environment": [{"name": n, "value": v} for n, v in environment.items()],
        "$resources": {"requests": resources, "limits": resources} if resources else {},
        "$claim": options.claim,
    }


def _words(run: Training, name: str) -> list[str]:
    """The words of the training, with its place on the claim."""
    run_dir = run.options.run_dir
    if run_dir is not None and (".." in run_dir.parts or not run_dir.is_relative_to(RUNS)):
        raise UserError(
            f"run_dir={run_dir} must lie in {RUNS}, because only the claim outlives a pod; "
            f"try --run-dir {RUNS}/{run_dir.name}"
        )
    if run_dir is not None:
        run_path("run_dir", run_dir)
    words = [*run.words, "--run-dir", str(run_dir or f"{RUNS}/{name}")]
    cache = type(run.options.run.data)().cache_dir
    if run.options.run.data.cache_dir == cache:
        words += ["--data.cache-dir", f"{RUNS}/cache"]
    return [*words, *run.again.split()]


def _slice(tpu: str) -> tuple[str, str, int]:
    """GKE's label, the topology and the hosts of a slice."""
    kind, _, size = tpu.partition("-")
    if kind not in TPUS:
        raise UserError(
            f"tpu={tpu!r} must begin with {', '.join(TPUS)}, because GKE's labels of these are "
            "known; try --tpu v5e-16"
        )
    label, topologies = TPUS[kind]
    if not size.isdecimal() or int(size) not in topologies:
        sizes = ", ".join(map(str, topologies))
        raise UserError(
            f"tpu={tpu!r} must be {kind}- and one of {sizes}, because GKE has slices of these "
            f"sizes with {CHIPS_PER_NODE} chips a node; try --tpu {kind}-{next(iter(topologies))}"
        )
    topology = topologies[int(size)]
    chips = math.prod(map(int, topology.split("x")))
    return label, topology, chips // CHIPS_PER_NODE


def _as_label(text: str) -> str:
    """The nearest name that Kubernetes takes."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:36].strip("-") or "run"
    return name if name[0].isalpha() else f"run-{name}"
