"""teu in a container of an engine: what works there, and what is said where the container around it forbids something."""

from pathlib import Path

from checks import Check
from lab import image, run

BUNDLES = Path("/tmp/nested")
# The life of a container, and what its program says.
LIFE = """
teu() { command /bin/teu --cgroup-manager disabled "$@"; }
set -e; cd /nested/$1
teu create c1 > /tmp/out; teu start c1; until grep -q inside /tmp/out; do sleep 0.1; done; cat /tmp/out
teu exec c1 echo exec; teu kill c1 KILL; until teu state c1 | grep -q stopped; do sleep 0.1; done
teu delete c1; teu list -q
"""
PROGRAM = '"sh", "-c", "echo x > /dev/null; echo inside; sleep 100"'


def bundles():
    """A bundle without and one with a user namespace, and the script that brings one to life."""
    if BUNDLES.exists():
        return
    for name, options in (("plain", []), ("mapped", ["--rootless"])):
        rootfs = BUNDLES / name / "rootfs"
        rootfs.mkdir(parents=True)
        run("tar", "-xf", image(), "-C", str(rootfs))
        run("/usr/local/bin/teu", "spec", *options, "--bundle", str(rootfs.parent))
        config = rootfs.parent / "config.json"
        text = config.read_text().replace('"terminal": true', '"terminal": false')
        config.write_text(text.replace('"sh"', PROGRAM, 1))
    (BUNDLES / "life").write_text(LIFE)


def checks(engine, unmasked):
    """The checks of one engine. `unmasked` is its option for a /proc that shows everything."""

    def around(options, bundle, prefix=""):
        command = (
            f"{prefix} {engine} run --rm --network none {options} -v /usr/local/bin/teu:/bin/teu:ro "
            f"-v {BUNDLES}:/nested box sh /nested/life {bundle}"
        )

        def commands(tested):
            bundles()
            return tested.sh(command)

        return commands

    def lives(title, options, bundle):
        return Check(f"teu in a container: {title}", around(options, bundle), "inside\nexec")

    def refused(title, options, bundle, text):
        return Check(f"teu in a container: {title}", around(options, bundle, "refused"), matches=f"hint: .*{text}")

    unfiltered = "--security-opt seccomp=unconfined"
    return [
        lives("privileged, without a user namespace", "--privileged", "plain"),
        lives("privileged, with a user namespace", "--privileged", "mapped"),
        lives("only unmasked and without filter, with a user namespace", f"{unfiltered} {unmasked}", "mapped"),
        refused("no privilege, without a user namespace", "", "plain", "use a user namespace"),
        refused("no privilege, with a user namespace", "", "mapped", "seccomp=unconfined"),
        refused("a masked /proc, with a user namespace", unfiltered, "mapped", "must not mask them"),
    ]


DOCKER = checks("docker", "--security-opt systempaths=unconfined")
PODMAN = checks("podman", "--security-opt unmask=ALL")
