"""Write an example model: ``python -m examples.models squeezenet -o squeezenet.onnx``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tvm_eqsat.files import replacing

from . import MODELS, build


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.models", description="Write an example model as ONNX.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which model; --list shows them")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: NAME.onnx)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="inputs at once (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="list the models and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args(argv)
    if args.list:
        print(json.dumps({"models": list(MODELS)}) if args.json else "\n".join(MODELS))
        return 0
    if args.seed < 0 or args.batch < 1:
        parser.error("--seed must be 0 or more, --batch 1 or more")
    if args.name not in MODELS:
        parser.error(f"NAME must be one of: {', '.join(MODELS)}")

    path: Path = args.output or Path(f"{args.name}.onnx")
    try:
        data = build(args.name, seed=args.seed, batch=args.batch).SerializeToString()
    except ValueError as error:
        parser.error(str(error))
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        print(f"Error: can't write {path}: {error.strerror}", file=sys.stderr)
        return 1
    facts = {"name": args.name, "seed": args.seed, "batch": args.batch, "file": str(path), "bytes": len(data)}
    print(json.dumps(facts) if args.json else f"{path}: {args.name}, {len(data) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
