# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake an operator can make is one line that names the remedy, and an exit code that says its kind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from ctl.config import load
from tests.ctl.running import running, write_config
from tests.patience import PATIENCE

UNPRIVILEGED = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]


@pytest.fixture
def tmp_path(open_directory):
    """A directory that other users can pass through, which pytest's own is not."""
    return open_directory()


@pytest.fixture
def config(tmp_path):
    """A configuration file with everything of its own; further sections are added by the argument."""
    return partial(write_config, tmp_path)


def voxdp(*arguments, prefix=(), timeout=PATIENCE):
    """Run the command; return its exit code and its lines on standard error that are not the log's."""
    command = [*prefix, sys.executable, "-m", "ctl.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("voxdp:")], done.stdout


def refused(code, text, *arguments, **more):
    """The command fails with this code and one line with this text."""
    status, lines, _ = voxdp(*arguments, **more)
    assert (status, len(lines)) == (code, 1), lines
    assert text in lines[0]


def test_a_missing_file_is_named(tmp_path):
    refused(
        1,
        "none.toml: No such file or directory; name a readable file with -c FILE",
        "-c",
        tmp_path / "none.toml",
        "run",
    )


def test_an_unknown_key_is_named(config):
    refused(1, "sip.lisen: unknown key; did you mean listen?", "-c", config(sip={"lisen": 1}), "run")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("flows", "no such command 'flows'; did you mean 'flow'? see: voxdp --help"),
        ("flow lst", "no such command 'lst'; did you mean 'list'? see: voxdp flow --help"),
        ("flow list --jso", "'--sort'? see: voxdp flow list --help"),
        ("rec", "rec may be recorder, recording; see: voxdp --help"),
        ("call list extra", "got unexpected extra argument (extra); see: voxdp call list --help"),
        ("call hangup", "missing argument 'ID'; see: voxdp call hangup --help"),
        ("--timeout soon flow list", "'soon' is not a valid float range; see: voxdp --help"),
    ],
)
def test_wrong_usage_is_one_line_too(line, text):
    refused(2, text, *line.split())


def test_a_file_that_may_not_be_read_is_named(config):
    file = config()
    file.chmod(0o600)
    refused(1, f"{file}: Permission denied; name a readable file", "-c", file, "config", "check", prefix=UNPRIVILEGED)


def test_no_controller_is_another_code(config):
    refused(3, "start it with: voxdp run", "-c", config(), "flow", "list")


def test_attach_needs_capabilities(config):
    refused(1, "CAP_NET_ADMIN", "-c", config(xdp={"mode": "native"}), "attach", prefix=UNPRIVILEGED)


def test_attach_needs_a_bpf_file_system(config, tmp_path):
    refused(1, "is not a bpf file system; mount one: mount -t bpf", "-c", config(xdp={"mode": "native"}), "attach")


def test_attach_with_xdp_off_is_refused(config):
    refused(1, "xdp.mode is off; set it to native or generic", "-c", config(), "attach")


def test_an_unknown_owner_is_named(config):
    refused(1, "useradd --system nobody-here", "-c", config(xdp={"mode": "native", "owner": "nobody-here"}), "attach")


def test_status_of_a_relay_that_is_not_loaded(config):
    refused(4, "the kernel relay is not loaded; run: sudo voxdp attach", "-c", config(), "xdp", "status")


def test_a_port_in_use_is_named(config):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        file = config(sip={"listen": [f"127.0.0.1:{port}"]})
        refused(1, f"voxdp: port {port} is in use on 127.0.0.1; stop the program that has it", "-c", file, "run")


def test_an_api_port_in_use_is_named(config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(1, "set api.listen to a free address", "-c", config(api={"listen": f"127.0.0.1:{port}"}), "run")


def test_an_address_of_another_host_is_named(config):
    file = config(sip={"listen": ["192.0.2.7:5060"]})
    refused(1, "relay address 192.0.2.7 is on no interface; see [media] and: ip address", "-c", file, "run")


def test_a_missing_package_is_named(config):
    file = config(database={"binaries": "/nonexistent"})
    refused(1, "apt-get install postgresql-15", "-c", file, "run")


def test_a_directory_that_cannot_be_made_is_named(config):
    file = config(run={"directory": "/proc/voxdp"})
    refused(1, "create it for user id 0", "-c", file, "run")


def test_a_file_in_place_of_a_directory_is_named(config, tmp_path):
    (tmp_path / "file").touch()
    file = config(run={"directory": str(tmp_path / "file")})
    refused(1, f"{tmp_path}/file is no directory; remove it", "-c", file, "run")


def test_a_bpf_file_system_that_is_closed_is_named(config, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    file = config(xdp={"mode": "native", "bpffs": str(tmp_path / "closed")})
    told = f"{tmp_path}/closed/voxdp"
    refused(5, told, "-c", file, "xdp", "status", prefix=UNPRIVILEGED)
    refused(5, "permission denied; run as root", "-c", file, "xdp", "status", prefix=UNPRIVILEGED)


@pytest.mark.parametrize("command", ["user add", "user password", "account add"])
def test_a_password_is_asked_for_at_a_terminal_alone(config, command):
    refused(2, "pipe it in with --password-stdin", "-c", config(), *command.split(), "anna")


def test_a_second_controller_is_refused(config):
    file = config()
    with running(file) as first:
        refused(1, f"process {first.pid} is the controller of", "-c", file, "run")


def test_the_controller_answers_and_ends(config, tmp_path):
    """Users by the command line, nothing readable by others, nothing left running."""
    file = config()
    with running(file):
        add = [sys.executable, "-m", "ctl.cli", "-c", str(file), "user", "add", "anna", "--password-stdin"]
        subprocess.run(add, input="secret\n", text=True, check=True, timeout=PATIENCE, capture_output=True)
        users = json.loads(voxdp("-c", file, "user", "list", "-j")[2])
        assert [(user["username"], user["enabled"]) for user in users] == [("anna", True)]
        refused(4, "no user anna ", "-c", file, "user", "enable", "anna ")
        refused(4, "no user bert: voxdp user list", "-c", file, "user", "disable", "bert")
        refused(2, "username: String should match pattern", "-c", file, "user", "add", "a b", "--password-stdin")
        objects(file)
        rest(file)
        assert voxdp("-c", file, "db", "rotate-key")[2] == "sealed 3 secrets with a new key\n"
        refused(4, "no call 'ffff'; see: voxdp call list", "-c", file, "call", "show", "ffff")
        refused(4, "no record of call 'ffff'; see: voxdp cdr list", "-c", file, "cdr", "show", "ffff")
        refused(4, "no flow '127.0.0.1:20000'", "-c", file, "flow", "show", "127.0.0.1:20000")
        assert (tmp_path / "run" / "control.sock").stat().st_mode & 0o077 == 0
        assert (tmp_path / "state" / "live").stat().st_mode & 0o077 == 0
        for name in ("secret", "database.key"):
            assert (tmp_path / "state" / name).stat().st_mode & 0o077 == 0
        refused(5, "permission denied; run as the controller's user", "-c", file, "flow", "list", prefix=UNPRIVILEGED)
    assert not (tmp_path / "run" / "control.sock").exists()
    assert "secret" not in (tmp_path / "state" / "live").read_text()


def test_the_controller_outlives_whoever_closes_a_connection(config):
    """What is written to one who is gone raises SIGPIPE, which ends a process that does not say otherwise."""
    file = config()
    with running(file) as controller:
        os.kill(controller.pid, signal.SIGPIPE)
        assert voxdp("-c", file, "call", "list", "-j")[2] == "[]\n"


def test_a_backup_comes_back_by_the_command_line(config, tmp_path):
    file, backup = config(), tmp_path / "backup"
    assert voxdp("-c", file, "db", "migrate")[2].startswith("applied 0001_users_and_cdrs")
    assert voxdp("-c", file, "db", "migrate")[2] == "the schema is up to date\n"
    with running(file):
        voxdp("-c", file, "skill", "add", "french")
        assert voxdp("-c", file, "db", "backup", backup)[2] == f"wrote {backup.stat().st_size} bytes to {backup}\n"
        assert backup.stat().st_mode & 0o077 == 0
        voxdp("-c", file, "skill", "add", "german")
        refused(1, "the controller runs; stop it first", "-c", file, "db", "restore", "--yes", backup)
        assert all(each["applied"] for each in json.loads(voxdp("-c", file, "db", "status", "-j")[2]))
    refused(1, "none", "-c", file, "db", "restore", "--yes", tmp_path / "none")
    assert voxdp("-c", file, "db", "restore", "--yes", backup)[::2] == (0, f"restored {backup}\n")
    with running(file):
        assert [each["name"] for each in json.loads(voxdp("-c", file, "skill", "list", "-j")[2])] == ["french"]


def objects(file):
    """Every kind has the same verbs; fields are typed as the API names them."""

    def done(*arguments):
        status, lines, output = voxdp("-c", file, *arguments)
        assert (status, lines) == (0, []), lines
        return output

    assert done(
        "trunk", "add", "paris", "host=sip.example.com", "channel-limit=30", "password=p", "sources=192.0.2.1"
    ) == ("added paris\n")
    done("route", "add", "france", "prefix=33", "trunks=paris", "strategy=least_cost")
    done("group", "add", "sales", "extension=500", "members=anna")
    done("user", "set", "anna", "forward_busy=500", "ring_seconds=20")
    done("trunk", "set", "paris", "channel_limit=", "retry_causes=34,38", "enabled=false")
    trunk = json.loads(done("trunk", "show", "paris", "-j"))
    assert (trunk["channel_limit"], trunk["retry_causes"], trunk["sources"], trunk["enabled"]) == (
        None, [34, 38], ["192.0.2.1"], False
    )  # fmt: skip
    assert "password" not in trunk
    assert json.loads(done("user", "show", "anna", "-j"))["forward_busy"] == "500"
    assert done("--no-header", "route", "list").split() == ["france", "33", "0", "least_cost", "-", "yes", "paris"]
    prices, export = file.parent / "prices.csv", file.parent / "export.json"
    prices.write_text("33,0.004\n331,0.003\n")
    done("rate-deck", "add", "cheap")
    assert done("rate-deck", "import", "cheap", prices) == "2 prices in cheap\n"
    done("trunk", "set", "paris", "enabled=true", "rate_deck=cheap")
    done("dial-plan", "add", "fr", "country=FR")
    done("tenant", "set", "default", "dial_plan=fr")
    assert done("route", "simulate", "anna", "0123456789").splitlines()[-1] == (
        "1. trunk paris as +33123456789 from anonymous"
    )
    assert "refused: 403" in done("route", "simulate", "anna", "0033899123456")
    refused(4, "no user nobody", "-c", file, "route", "simulate", "nobody", "112")
    refused(2, "is no time such as", "-c", file, "route", "simulate", "anna", "112", "--at", "noon")
    export.write_text(done("tenant", "export"))
    assert done("tenant", "import", export) == ""
    export.write_text(export.read_text().replace('"strategy": "least_cost"', '"strategy": "weighted"'))
    assert done("tenant", "import", "--dry-run", export) == "update route france (strategy: least_cost → weighted)\n"
    done("tenant", "set", "default", "dial_plan=")
    done("tenant", "add", "other", "realm=other.example")
    done("trunk", "add", "paris", "host=h", "--tenant", "other")
    assert [each["name"] for each in json.loads(done("tenant", "list", "-j"))] == ["default", "other"]
    assert json.loads(done("route", "list", "--tenant", "other", "-j")) == []
    refused(1, "trunk paris is in use by route trunks", "-c", file, "trunk", "delete", "paris", "--yes")
    refused(2, "no field hots; there are name, host", "-c", file, "trunk", "set", "paris", "hots=x")
    refused(2, "'x' is not FIELD=VALUE", "-c", file, "trunk", "set", "paris", "x")
    refused(2, "port: Input should be less than or equal to 65535", "-c", file, "trunk", "set", "paris", "port=65536")
    refused(4, "no tenant none", "-c", file, "trunk", "list", "--tenant", "none")
    done("route", "delete", "france", "--yes")
    done("trunk", "delete", "paris", "--yes")


def rest(file):
    """An account made on the command line logs in over HTTP, and what it does is in the audit."""
    url = f"http://{load(file).rest.listen}/api/v1"
    add = [
        sys.executable,
        "-m",
        "ctl.cli",
        "-c",
        str(file),
        "account",
        "add",
        "boss",
        "role=platform",
        "--password-stdin",
    ]
    subprocess.run(add, input="correct horse\n", text=True, check=True, timeout=PATIENCE, capture_output=True)

    def ask(path, body=None, token=""):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode() if body else None, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    token = ask("/auth/login", {"username": "boss", "password": "correct horse"})["access_token"]
    assert [each["username"] for each in ask("/users", token=token)["items"]] == ["anna"]
    assert ask("/calls", token=token) == {"items": []}
    assert ask("/statistics", token=token)["flows"] == 0
    ask("/skills", {"name": "french"}, token)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask("/users", token="x")
    newest = json.loads(voxdp("-c", file, "audit", "list", "-n", "1", "-j")[2])
    assert [(each["actor"], each["action"], each["key"]) for each in newest] == [("boss", "create", "french")]
    assert json.loads(voxdp("-c", file, "audit", "verify", "-j")[2])["broken"] is None


def test_a_silent_controller_is_given_up(config, tmp_path):
    file = config()
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "run" / "control.sock"))
        silent.listen()
        refused(124, "no answer from the controller within 0.3 s", "-c", file, "--timeout", "0.3", "flow", "list")


def test_hostile_requests_get_an_error_line(config, tmp_path):
    file = config()
    requests = [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"verb": []}\n',
        b'{"verb": "flow.list", "arguments": 7}\n',
        b"\xff\n",
    ]
    with running(file):
        for request in requests:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(str(tmp_path / "run" / "control.sock"))
                client.sendall(request)
                assert json.loads(client.makefile().readline())["code"] == 2, request
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "run" / "control.sock"))
            writer = threading.Thread(target=swallow, args=(client, b"x" * 200_000))
            writer.start()
            assert client.recv(10) == b""
            writer.join()
        assert voxdp("-c", file, "flow", "list")[0] == 0


def swallow(client, data):
    try:
        client.sendall(data)
    except OSError:
        return


def test_the_command_line_starts_fast(config):
    """Below 100 ms on an idle machine; what is bounded here is what it imports, which no load can change."""
    code = "import sys, ctl.cli, ctl.commands.flow; print([m for m in sys.modules if m.partition('.')[0] in HEAVY])"
    heavy = {"asyncio", "aiohttp", "cffi", "psycopg", "pydantic", "pyroute2", "structlog", "uvloop", "_cffi_backend"}
    done = subprocess.run(
        [sys.executable, "-c", f"HEAVY = {heavy!r}\n{code}"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
    assert Path(config()).exists()
