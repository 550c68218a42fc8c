"""Runs schemathesis against a server of its own, and prometheus_client's parser over its metrics."""
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "EndToEnd"))

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from server import Server  # noqa: E402


def ask(server, seconds, headers):
    """Everything that is described, for so many seconds; whether all checks held."""
    description = HERE.parent.parent / ".build-contract/openapi.json"
    description.write_bytes(server.get("/openapi.json").body)
    return subprocess.call([
        str(pathlib.Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml"),
        "run", str(description), "--url", server.url, "--checks", "all", "--max-time", str(seconds), "--request-timeout", "20",
        "--exclude-path", "/v1/events", "--generation-database", "none", "--continue-on-failure", "--no-color", "--warnings", "off",
        *(word for header in headers for word in ("-H", header))]) == 0


def check_metrics(server):
    """Names of families that Prometheus' own client does not read as one group of the type that they claim."""
    families = list(text_string_to_metric_families(server.get("/metrics").body.decode()))
    names = [family.name for family in families]
    bad = [name for name in set(names) if names.count(name) > 1]
    return bad + [family.name for family in families if family.type == "unknown" or not family.documentation]


def main(seconds):
    server = Server("--threads", "2", "--processes", "2", "--store", "memory")
    try:
        held = ask(server, seconds // 2, [f"Authorization: Bearer {server.token}"])
        held = ask(server, seconds // 2, []) and held
        bad = check_metrics(server)
        if bad:
            print("metrics that are not one well-formed family:", ", ".join(bad))
        if server.process.poll() is not None:
            print("the server has ended")
        return 0 if held and not bad and server.process.poll() is None else 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
