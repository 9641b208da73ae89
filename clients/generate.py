"""Makes everything that is generated from the API: Python stubs with types, and the JSON Schema of a fleet file.

python clients/generate.py            write
python clients/generate.py --check    exit 1, naming the files, if anything differs from what would be written
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import google.protobuf
import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

sys.path.insert(0, str(Path(__file__).parent))
from fleet_schema import fleet_schema

ROOT = Path(__file__).parent.parent
PROTOS = ROOT / "proto"
STUBS = ROOT / "clients/python/src"
SCHEMA = ROOT / "broker/cli/fleet.schema.json"
PACKAGE = "capacitybroker/v1"
INIT = '"""Generated from proto/capacitybroker/v1; do not edit."""\n'


def generate(into: Path) -> dict[Path, str]:
    """Every generated file, by its place in the repository; ``into`` is an empty folder to work in."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / PACKAGE).glob("*.proto"))
    descriptors = into / "api.binpb"
    out = into / "stubs"
    out.mkdir()
    plugins = Path(sys.executable).parent
    arguments = [
        "protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={well_known}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet,readable_stubs:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        f"--descriptor_set_out={descriptors}",
        "--include_source_info",
        *files,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the API")
    made = {STUBS / path.relative_to(out): path.read_text() for path in out.rglob("*") if path.is_file()}
    # Files that declare no service need no service stub.
    made = {path: text for path, text in made.items() if "_pb2_grpc" not in path.name or "_service_" in path.name}
    made[STUBS / PACKAGE / "__init__.py"] = INIT
    schema = fleet_schema(FileDescriptorSet.FromString(descriptors.read_bytes()))
    made[SCHEMA] = json.dumps(schema, indent=2) + "\n"
    return made


def main() -> int:
    """Write or check; exit status 1 when a check finds a difference."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--check", action="store_true", help="write nothing")
    check = ask.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
    stale = [p for p in (STUBS / PACKAGE).glob("*") if p.is_file() and p not in made]
    differs = [p for p, text in made.items() if not p.exists() or p.read_text() != text]
    if check:
        for path in sorted(differs + stale):
            print(f"not as generated: {path.relative_to(ROOT)} (run: make gen)")
        return 1 if differs or stale else 0
    for path in stale:
        path.unlink()
    for path in differs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path])
    print(f"{len(made)} files, {len(differs)} changed, {len(stale)} removed (protobuf {google.protobuf.__version__})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
