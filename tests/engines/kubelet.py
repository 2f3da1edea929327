#!/usr/bin/env python3
"""Calls containerd as a kubelet does, by the Container Runtime Interface.

The messages below are the part of the interface (runtime.v1) that the checks use: the name, number and type of each field.

usage: kubelet.py runp HANDLER NAME [OPTION=VALUE...]       makes a pod in the network of the node; prints its id
       kubelet.py create POD NAME [OPTION=VALUE...] -- COMMAND...   prints the id of the container
       kubelet.py start|stop|rm CONTAINER, stopp|rmp POD, rmall
       kubelet.py state CONTAINER                           prints its state, exit status and reason
       kubelet.py exec CONTAINER COMMAND...                 with the output and exit status of the command
       kubelet.py update CONTAINER MEMORY
       kubelet.py features HANDLER                          what containerd has found out about a runtime
options: memory=BYTES user=UID readonly=yes pid=pod mount=SOURCE:DESTINATION[:rro] seccomp=default cap=NAME
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

SOCKET = "unix:///run/containerd/containerd.sock"

# A type in capitals is a message; "*" stands for any number of them. Enumerations are numbers here.
MESSAGES = {
    "Id": {"pod_sandbox_id": (1, "string")},
    "ContainerId": {"container_id": (1, "string")},
    "Nothing": {},
    "Metadata": {"name": (1, "string"), "uid": (2, "string"), "namespace": (3, "string")},
    "Name": {"name": (1, "string")},
    "Namespaces": {"network": (1, "int32"), "pid": (2, "int32"), "ipc": (3, "int32")},
    "Profile": {"profile_type": (1, "int32")},
    "SandboxContext": {"namespace_options": (1, "Namespaces"), "seccomp": (9, "Profile")},
    "SandboxLinux": {"security_context": (2, "SandboxContext")},
    "Sandbox": {"metadata": (1, "Metadata"), "log_directory": (3, "string"), "linux": (8, "SandboxLinux")},
    "RunPodSandbox": {"config": (1, "Sandbox"), "runtime_handler": (2, "string")},
    "Image": {"image": (1, "string")},
    "Mount": {
        "container_path": (1, "string"),
        "host_path": (2, "string"),
        "readonly": (3, "bool"),
        "recursive_read_only": (8, "bool"),
    },
    "Resources": {"memory_limit_in_bytes": (4, "int64")},
    "Capabilities": {"add_capabilities": (1, "*string"), "drop_capabilities": (2, "*string")},
    "Number": {"value": (1, "int64")},
    "ContainerContext": {
        "capabilities": (1, "Capabilities"),
        "namespace_options": (3, "Namespaces"),
        "run_as_user": (5, "Number"),
        "readonly_rootfs": (7, "bool"),
        "seccomp": (15, "Profile"),
    },
    "ContainerLinux": {"resources": (1, "Resources"), "security_context": (2, "ContainerContext")},
    "Container": {
        "metadata": (1, "Name"),
        "image": (2, "Image"),
        "command": (3, "*string"),
        "mounts": (7, "*Mount"),
        "log_path": (11, "string"),
        "linux": (15, "ContainerLinux"),
    },
    "CreateContainer": {"pod_sandbox_id": (1, "string"), "config": (2, "Container"), "sandbox_config": (3, "Sandbox")},
    "StopContainer": {"container_id": (1, "string"), "timeout": (2, "int64")},
    "UpdateContainerResources": {"container_id": (1, "string"), "linux": (2, "Resources")},
    "ExecSync": {"container_id": (1, "string"), "cmd": (2, "*string"), "timeout": (3, "int64")},
    "ExecSyncResponse": {"stdout": (1, "bytes"), "stderr": (2, "bytes"), "exit_code": (3, "int32")},
    "ContainerStatus": {"state": (3, "int32"), "exit_code": (7, "int32"), "reason": (10, "string")},
    "ContainerStatusResponse": {"status": (1, "ContainerStatus")},
    "Listed": {"id": (1, "string")},
    "ListPodSandboxResponse": {"items": (1, "*Listed")},
    "Features": {"recursive_read_only_mounts": (1, "bool"), "user_namespaces": (2, "bool")},
    "Handler": {"name": (1, "string"), "features": (2, "Features")},
    "StatusResponse": {"runtime_handlers": (3, "*Handler")},
}
STATES = ["created", "running", "exited", "unknown"]
POD, CONTAINER, NODE = 0, 1, 2


def classes():
    """A class for each message."""
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package="cri", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated, kind = kind.startswith("*"), kind.lstrip("*")
            made = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in MESSAGES:
                made.type, made.type_name = made.TYPE_MESSAGE, f".cri.{kind}"
            else:
                made.type = getattr(made, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    class_of = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return {name: class_of(pool.FindMessageTypeByName(f"cri.{name}")) for name in MESSAGES}


CLASSES = classes()
CHANNEL = grpc.insecure_channel(SOCKET)


def call(method, request, asks="Nothing", answers="Nothing"):
    """One call of the service. The request is a value as in JSON, the answer a message."""
    message = json_format.ParseDict(request, CLASSES[asks]())
    made = CHANNEL.unary_unary(
        f"/runtime.v1.RuntimeService/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=CLASSES[answers].FromString,
    )
    return made(message, timeout=60)


def sandbox(name, options):
    """The pod, which is told again with each of its containers."""
    namespaces = {"network": NODE, "pid": POD if options.get("pid") == "pod" else CONTAINER, "ipc": POD}
    return {
        "metadata": {"name": name, "uid": name, "namespace": "default"},
        "log_directory": "/tmp/pods",
        "linux": {"security_context": {"namespace_options": namespaces}},
    }


def container(name, options, command):
    context = {"namespace_options": sandbox(name, options)["linux"]["security_context"]["namespace_options"]}
    # Unless it says otherwise, a kubelet asks for no filter.
    context["seccomp"] = {"profile_type": 0 if options.get("seccomp") == "default" else 1}
    config = {"metadata": {"name": name}, "image": {"image": "docker.io/library/box:1"}, "command": command}
    config.update(log_path=f"{name}.log", linux={"security_context": context})
    if "user" in options:
        context["run_as_user"] = {"value": int(options["user"])}
    if "readonly" in options:
        context["readonly_rootfs"] = True
    if "cap" in options:
        context["capabilities"] = {"add_capabilities": [options["cap"]], "drop_capabilities": ["ALL"]}
    if "memory" in options:
        config["linux"]["resources"] = {"memory_limit_in_bytes": int(options["memory"])}
    if "mount" in options:
        source, destination, *recursive = options["mount"].split(":")
        mount = {"host_path": source, "container_path": destination, "readonly": bool(recursive)}
        config["mounts"] = [dict(mount, recursive_read_only=bool(recursive))]
    return config


def main(verb, *words):
    words, command = (words[: words.index("--")], list(words[words.index("--") + 1 :])) if "--" in words else (words, [])
    if verb == "runp":
        handler, name, *more = words
        options = dict(word.split("=", 1) for word in more)
        request = {"config": sandbox(name, options), "runtime_handler": handler}
        print(call("RunPodSandbox", request, "RunPodSandbox", "Id").pod_sandbox_id)
    elif verb == "create":
        pod, name, *more = words
        options = dict(word.split("=", 1) for word in more)
        request = {"pod_sandbox_id": pod, "config": container(name, options, command), "sandbox_config": sandbox(name, options)}
        print(call("CreateContainer", request, "CreateContainer", "ContainerId").container_id)
    elif verb == "start":
        call("StartContainer", {"container_id": words[0]}, "ContainerId")
    elif verb == "stop":
        call("StopContainer", {"container_id": words[0], "timeout": 1}, "StopContainer")
    elif verb == "rm":
        call("RemoveContainer", {"container_id": words[0]}, "ContainerId")
    elif verb in ("stopp", "rmp"):
        call("StopPodSandbox" if verb == "stopp" else "RemovePodSandbox", {"pod_sandbox_id": words[0]}, "Id")
    elif verb == "rmall":
        for pod in call("ListPodSandbox", {}, answers="ListPodSandboxResponse").items:
            call("StopPodSandbox", {"pod_sandbox_id": pod.id}, "Id")
            call("RemovePodSandbox", {"pod_sandbox_id": pod.id}, "Id")
    elif verb == "state":
        status = call("ContainerStatus", {"container_id": words[0]}, "ContainerId", "ContainerStatusResponse").status
        print(STATES[status.state], status.exit_code, status.reason)
    elif verb == "exec":
        request = {"container_id": words[0], "cmd": list(words[1:]) + command, "timeout": 20}
        done = call("ExecSync", request, "ExecSync", "ExecSyncResponse")
        sys.stdout.write(done.stdout.decode())
        sys.stderr.write(done.stderr.decode())
        sys.exit(done.exit_code)
    elif verb == "update":
        request = {"container_id": words[0], "linux": {"memory_limit_in_bytes": int(words[1])}}
        call("UpdateContainerResources", request, "UpdateContainerResources")
    elif verb == "features":
        handlers = call("Status", {}, answers="StatusResponse").runtime_handlers
        found = {handler.name: handler.features for handler in handlers}[words[0]]
        print(json.dumps({"rro": found.recursive_read_only_mounts, "userns": found.user_namespaces}))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
