"""`make demo`: what it serves, and that every line which it shows to try works as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CLOUDSTATE = str(Path(sys.executable).with_name("cloudstate"))

#: A port that is replaced by the one that is served.
PORT = "4321"


def demo(*variables: str) -> tuple[list[str], str]:
    """Return what `make demo` shows to try, and the command with which it serves."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "demo", *variables],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    shown = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    return shown, done.stdout.splitlines()[-1]


@contextmanager
def served(example: str, data: Path) -> Iterator[tuple[list[str], str]]:
    """Serve an example; yield the lines to try, for the port where it is served, and that port."""
    shown, command = demo(f"EXAMPLE={example}", f"PORT={PORT}")
    entities = re.findall(r"\S+\.\S+:\S+", command)
    process = subprocess.Popen(
        [CLOUDSTATE, "run", *entities, "--port=0", f"--data={data}"],
        cwd=CHECKOUT / "examples" / example,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = next(found for line in process.stdout if (found := _port_in(line)))
        yield [line.replace(PORT, port) for line in shown], port
    finally:
        process.terminate()
        process.communicate()


def _port_in(line: str) -> str:
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    return "" if found is None else found.group(1)


def run(line: str) -> str:
    """Run a line as it is shown, and fail where it fails."""
    line = line.replace("curl ", "curl --silent --show-error --fail-with-body ")
    # The interpreter of the tests stands in for the one that `make` has installed.
    line = line.replace("../../.venv/bin/python", sys.executable)
    done = subprocess.run(
        ["sh", "-c", line], check=False, cwd=CHECKOUT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def until(address: str, field: str, expected: object) -> dict[str, object]:
    """Look until a field is what it will be at the end."""
    for _ in range(200):
        found: dict[str, object] = json.loads(run(f"curl {address}"))
        if found[field] == expected:
            return found
        time.sleep(0.02)
    raise AssertionError(f"expected {field} {expected!r}, found {found}")


def test_the_shopping_cart_is_what_is_served_unless_told_otherwise() -> None:
    _, command = demo()

    assert "shoppingcart.shopping_cart_entity:entity --port 9000" in command


def test_an_example_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        demo("EXAMPLE=nope")

    assert "examples/nope/demo.mk" in failed.value.stderr


def test_every_line_of_the_shopping_cart_works(tmp_path: Path) -> None:
    with served("shopping_cart", tmp_path) as (shown, _):
        answers = [run(line) for line in shown]

    assert len(answers) == 4
    assert json.loads(answers[1]) == {
        "items": [{"productId": "socks", "name": "Socks", "quantity": 2}]
    }


def test_every_line_of_the_bank_works_and_no_cent_is_lost(tmp_path: Path) -> None:
    with served("bank", tmp_path) as (shown, port):
        answers = {line: run(line) for line in shown}

        reported = next(answer for line, answer in answers.items() if "/report?" in line)
        assert [json.loads(line)["owner"] for line in reported.splitlines()] == ["Alice", "Bob"]
        transfers = f"http://127.0.0.1:{port}/transfers"
        assert until(f"{transfers}/rent", "stage", "CREDITED")["reason"] == ""
        lost = until(f"{transfers}/lost", "stage", "COMPENSATED")
        assert lost["reason"] == "there is no account 'nobody'"
        accounts = f"http://127.0.0.1:{port}/accounts"
        assert json.loads(run(f"curl {accounts}/alice"))["cents"] == "7450"
        assert json.loads(run(f"curl {accounts}/bob"))["cents"] == "2550"
        client = next(line for line in shown if "bank.client" in line)
        assert run(client).splitlines() == [
            "alice                74.50  Alice",
            "bob                  25.50  Bob",
        ]
        moved = run(client.replace("report alice bob", "transfer more bob alice 5.50"))
        assert moved.splitlines()[-1].strip() == "CREDITED"
