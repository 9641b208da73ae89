"""What the documents tell people to type works as they tell it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cli.connection import DEFAULT_ADDRESS
from broker.cli.local_server import LocalServer, local_server

ROOT = Path(__file__).parents[2]
BROKER = Path(sys.executable).parent / "broker"
# These serve, draw the demo, or solve files for a while: each has a test or a target of its own.
ELSEWHERE = ("serve", "demo", "replay", "plan")
SUPPLY = ("outage", "recover", "drain", "late", "grow")
PAGES = sorted(p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")) if p.is_file())


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def shell_lines(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with local_server(tmp_path_factory.mktemp("documents"), horizon_slots=28 * 24) as server:
        yield server


def test_the_commands_of_the_readme_run_in_order(fresh: LocalServer, tmp_path: Path) -> None:
    environment = os.environ | {"BROKER_ADDRESS": fresh.address}
    ran = 0
    for words in shell_lines(ROOT / "README.md"):
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            environment[name] = value
        program = BROKER.parent / Path(words[0]).name
        if program.name not in ("broker", "buf") or words[1] in ELSEWHERE:
            continue
        # Only buf is told on its command line where the broker is.
        options = [word.replace("demo-out", str(tmp_path)).replace(DEFAULT_ADDRESS, fresh.address) for word in words]
        done = subprocess.run(
            [str(program), *options[1:]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
        assert done.stdout
        ran += 1
    assert ran >= 8


def test_the_changes_of_supply_in_the_guide_run(fresh: LocalServer) -> None:
    environment = os.environ | {"BROKER_ADDRESS": fresh.address}
    changes = [words for words in shell_lines(ROOT / "docs/guide.md") if words[1] in SUPPLY]
    assert {words[1] for words in changes} == set(SUPPLY)
    for words in [["broker", "fleet", "apply", "--default"], *changes]:
        line = [str(BROKER), *words[1:]]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"


def test_the_python_of_the_readme_runs(fresh: LocalServer) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    environment = os.environ | {"BROKER_ADDRESS": fresh.address}
    with_fleet = [str(BROKER), "fleet", "apply", str(ROOT / "broker/cli/default_fleet.yaml")]
    subprocess.run(with_fleet, env=environment, capture_output=True, timeout=60, check=True)
    done = subprocess.run(
        [sys.executable, "-c", example], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "576 devices in pools/" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_targets_commands_and_links_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    assert set(re.findall(r"`make ([a-z-]+)", text)) | {w[1] for w in shell_lines(page) if w[0] == "make"} <= targets
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link
    commands = {w[1] for w in shell_lines(page) if w[0].endswith("broker") and len(w) > 1}
    help_text = subprocess.run([str(BROKER), "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert commands <= set(re.findall(r"^│ ([a-z-]+) ", help_text, re.MULTILINE))
