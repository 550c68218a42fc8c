"""A worker without the library, that says whatever the input tells it to: how the server takes it is what is tested.

Task `say`: {"lines": [...], "files": {name: text}} writes each line as it is, with @ID@ for the call's number and @DIR@ for
the worker's directory; `files` are written there first. A call whose lines hold no answer never ends by itself.
"""
import json
import os
import socket

channel = socket.socket(fileno=int(os.environ["SPINDLE_FD"]))


def tell(line):
    channel.sendall(line.encode() + b"\n")


def answer(request, result):
    tell(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


def say(request):
    params = request["params"]
    for name, text in params["input"].get("files", {}).items():
        with open(os.path.join(params["dir"], name), "w") as file:
            file.write(text)
    for name in params["input"].get("pipes", []):
        os.mkfifo(os.path.join(params["dir"], name))
    for name, target in params["input"].get("links", {}).items():
        os.symlink(target, os.path.join(params["dir"], name))
    for line in params["input"]["lines"]:
        tell(line.replace("@ID@", str(request["id"])).replace("@DIR@", params["dir"]))


for line in channel.makefile("r"):
    request = json.loads(line)
    match request["method"]:
        case "initialize":
            answer(request, {"protocol": 1, "worker": {"sdk": "none", "language": "python"}, "tasks": [{"name": "say"}]})
        case "run":
            say(request)
        case "ping":
            answer(request, {})
        case "drain":
            break
