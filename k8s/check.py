#!/usr/bin/env python3
"""Checks the manifests: against the Kubernetes schemas, and against what Tandem promises of them.

Run by check.sh, which brings the schemas. No cluster and no kubectl is needed.
"""

import copy
import pathlib
import sys

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
# The oldest Kubernetes that has all that the manifests use, and the newest that the schemas know.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
MEDIAD = {"BPF", "NET_ADMIN", "PERFMON"}
SETUP = {"CHOWN"}

errors = []


def error(where, text):
    errors.append(f"{where}: {text}")


def schema_errors(resource):
    """What the schemas say, unknown fields included."""
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as problem:
            path = ".".join(str(step) for step in problem.path)
            found.append(f"Kubernetes {version}: {path}: {problem.message}")
        except Exception as problem:  # an unknown kind or version has no schema
            found.append(f"Kubernetes {version}: {problem}")
    return found


class Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, where YAML's own loader takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, Loader) if document]


def check_kustomization(folder):
    """Every file that is named is there, and every manifest that is there is named."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    known = {"apiVersion", "kind", "namespace", "labels", "resources", "configMapGenerator", "images", "patches"}
    for key in kustomization.keys() - known:
        error(folder.name, f"kustomization.yaml has '{key}', which this check does not know")
    named = set(kustomization.get("resources", []))
    for generator in kustomization.get("configMapGenerator", []):
        named.update(generator["files"])
    for name in named:
        if not (folder / name).exists():
            error(folder.name, f"kustomization.yaml names {name}, which is not there")
    for path in folder.glob("*.yaml"):
        if path.name != "kustomization.yaml" and path.name not in named:
            error(folder.name, f"kustomization.yaml does not name {path.name}")
    return kustomization


def check_pod(pod):
    """Capabilities for mediad alone, nobody root but the container that prepares folders."""
    containers = pod.get("initContainers", []) + pod["containers"]
    by_name = {container["name"]: container for container in containers}
    if set(by_name) != {"folders", "mediad", "api", "signaling"}:
        error("pod", f"the containers are {sorted(by_name)}")
        return
    if not pod["securityContext"].get("runAsNonRoot") or pod["securityContext"].get("runAsUser", 0) == 0:
        error("pod", "runs as root")
    if not pod.get("hostNetwork"):
        error("pod", "RTP and XDP need hostNetwork")

    volumes = {volume["name"] for volume in pod["volumes"]}
    for name, container in by_name.items():
        context = container["securityContext"]
        capabilities = context.get("capabilities", {})
        added = set(capabilities.get("add", []))
        allowed = {"mediad": MEDIAD, "folders": SETUP}.get(name, set())
        if capabilities.get("drop") != ["ALL"] or added != allowed:
            error(name, f"must drop ALL and add {sorted(allowed)}, not {sorted(added)}")
        if context.get("privileged") or not context.get("readOnlyRootFilesystem"):
            error(name, "must not be privileged, and its root file system must be read-only")
        if context.get("allowPrivilegeEscalation") is not (name == "mediad"):
            error(name, "allowPrivilegeEscalation must be said, and be true for mediad alone")
        if (context.get("runAsUser") == 0) is not (name == "folders"):
            error(name, "only the container that prepares folders runs as root")
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
            error(name, "needs requests for CPU and memory and a limit of memory")
        for mount in container["volumeMounts"]:
            if mount["name"] not in volumes:
                error(name, f"mounts {mount['name']}, which is no volume of the pod")
        if name != "folders" and "livenessProbe" not in container:
            error(name, "has no livenessProbe")

    order = [container["name"] for container in pod["initContainers"]]
    sidecars = [c["name"] for c in pod["initContainers"] if c.get("restartPolicy") == "Always"]
    if order != ["folders", "mediad", "api"] or sidecars != ["mediad", "api"]:
        error("pod", f"the start order is {order}, of which {sidecars} stay")
    paths = [by_name["api"][probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    if paths != ["/healthz", "/readyz"]:
        error("api", f"the probes ask {paths}")

    command = by_name["signaling"]["lifecycle"]["preStop"]["exec"]["command"]
    wait = int(command[command.index("--wait") + 1])
    if command[:2] != ["tandem", "drain"] or pod["terminationGracePeriodSeconds"] < wait + 30:
        error("signaling", "preStop must drain, and end well before terminationGracePeriodSeconds")


def check_image():
    """The capabilities of mediad's file are those that its container is given: with others the
    kernel would not start it."""
    text = (HERE / "Containerfile").read_text(encoding="utf-8")
    wanted = ",".join("cap_" + name.lower() for name in sorted(MEDIAD))
    setcap = [line for line in text.splitlines() if "setcap " in line]
    if len(setcap) != 1 or f"setcap {wanted}=ep /usr/local/bin/mediad" not in setcap[0]:
        error("Containerfile", f"must have one setcap, of {wanted} for mediad")
    stages = text.split("\nFROM ")
    if "\nUSER 65532:65532\n" not in stages[-1]:
        error("Containerfile", "the final stage must not run as root")


def main():
    resources = []
    base = HERE / "base"
    check_kustomization(base)
    for path in sorted(base.glob("*.yaml")):
        if path.name == "kustomization.yaml":
            continue
        for resource in documents(path):
            where = f"{path.name} {resource.get('kind')}/{resource.get('metadata', {}).get('name')}"
            resources.append(where)
            for text in schema_errors(resource):
                error(where, text)
            if resource["kind"] == "DaemonSet":
                daemon_set = resource
                check_pod(resource["spec"]["template"]["spec"])

    (patch,) = check_kustomization(HERE / "io-uring")["patches"]
    test, add = yaml.safe_load(patch["patch"])
    position = int(test["path"].split("/")[-2])
    patched = copy.deepcopy(daemon_set)
    container = patched["spec"]["template"]["spec"]["initContainers"][position]
    if (test["op"], container["name"]) != ("test", test["value"]) or add["path"].split("/")[:-2] != test["path"].split("/")[:-1]:
        error("io-uring", f"the patch is meant for {test['value']} and meets {container['name']}")
    container["securityContext"][add["path"].split("/")[-1]] = add["value"]
    for text in schema_errors(patched):
        error("io-uring", text)

    check_image()

    # A check that finds nothing may be one that looks at nothing.
    misspelt = copy.deepcopy(daemon_set)
    misspelt["spec"]["template"]["spec"]["hostNetwrok"] = True
    wrong = copy.deepcopy(daemon_set)
    wrong["spec"]["minReadySeconds"] = "ten"
    for broken in (misspelt, wrong):
        if len(schema_errors(broken)) != len(VERSIONS):
            error("check", "the schemas accept a manifest that is wrong on purpose")

    for text in errors:
        print(f"k8s: {text}", file=sys.stderr)
    if not errors:
        print(f"k8s: {len(resources)} manifests fit Kubernetes {' and '.join(VERSIONS)}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
