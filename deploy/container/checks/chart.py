"""Lints the chart and renders it with several sets of values, by Helm's own library, and checks that what is rendered has no privileges.

Prints the command of each rendering's container as a line of JSON, for `cargo xtask containers` to put before the program's own command line.
"""

import json
import pathlib
import sys

import helm_python as helm

CHART = pathlib.Path(__file__).parents[2] / "helm" / "skin-assist"

# What a user may well set.
VALUES = [
    {},
    {"networkPolicy": {"enabled": True}},
    {"networkPolicy": {"enabled": True, "consoleFrom": [{"app": "prometheus"}]}, "secret": {"apiKey": ""}},
    {"replicas": 0, "state": {"storageClass": "fast"}, "firmKeys": {"storageClass": "apart"}, "nodeSelector": {"disk": "local"},
     "podAnnotations": {"a": "b"}, "serviceAccount": {"annotations": {"c": "d"}}, "image": {"tag": "1", "pullSecrets": [{"name": "e"}]},
     "tolerations": [{"key": "f", "operator": "Exists"}]},
]


def documents(values):
    """Every object that the chart makes of these values."""
    for text in helm.Chart.load(str(CHART)).render(values, name="practices").values():
        for document in text.split("\n---\n"):
            if document.strip():
                yield helm.values_from_yaml(document)


def privileges(pod):
    """What is not as it has to be in a pod's specification."""
    container, = pod["containers"]
    own, of_all = container["securityContext"], pod["securityContext"]
    wanted = [
        ("runAsNonRoot", of_all.get("runAsNonRoot"), True),
        ("runAsUser", of_all.get("runAsUser"), 65532),
        ("seccompProfile", of_all.get("seccompProfile"), {"type": "RuntimeDefault"}),
        ("allowPrivilegeEscalation", own.get("allowPrivilegeEscalation"), False),
        ("readOnlyRootFilesystem", own.get("readOnlyRootFilesystem"), True),
        ("privileged", own.get("privileged"), False),
        ("capabilities", own.get("capabilities"), {"drop": ["ALL"]}),
        ("automountServiceAccountToken", pod.get("automountServiceAccountToken"), False),
        ("hostNetwork", pod.get("hostNetwork"), None),
        ("livenessProbe", container["livenessProbe"]["httpGet"]["path"], "/healthz"),
        ("readinessProbe", container["readinessProbe"]["httpGet"]["path"], "/readyz"),
    ]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    there = {volume["name"] for volume in pod["volumes"]} | {"state", "firm-keys"}
    wanted.append(("volumes", mounted, there))
    return [f"{name} is {found!r} and not {right!r}" for name, found, right in wanted if found != right]


def main():
    found = helm.lint(str(CHART), strict=False)
    problems = [str(error) for error in found["errors"]]
    for values in VALUES:
        kinds = []
        for document in documents(values):
            kinds.append(document["kind"])
            if document["kind"] == "StatefulSet":
                pod = document["spec"]["template"]["spec"]
                problems += privileges(pod)
                container, = pod["containers"]
                words = ["skin-assist", *container["args"]]
                print(json.dumps({"at": "deploy/helm/skin-assist", "words": words, "partial": False}))
        right = ["ConfigMap", "Service", "ServiceAccount", "StatefulSet"]
        right += ["NetworkPolicy"] if values.get("networkPolicy", {}).get("enabled") else []
        if sorted(kinds) != sorted(right):
            problems.append(f"{values}: {sorted(kinds)}")
    try:
        list(documents({"replicas": 2}))
        problems.append("two replicas on one state file are not refused")
    except helm.HelmRenderError:
        pass
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


sys.exit(main())
