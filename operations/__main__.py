# SPDX-License-Identifier: Apache-2.0
"""Deploy, verify, restore, destroy and prune an environment in your own account, and make its devices."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from operations.cdk import pinned_cdk
from operations.bootstrap import bootstrap_lines
from operations.change_approval import report_change
from operations.deploy import deploy, deploy_pipeline
from operations.destroy import DEVICE_SECONDS, destroy
from operations.device import make_device
from operations.errors import OperationError, RefusedError
from operations.gate import pass_gate
from operations.last_good import promote
from operations.nucleus_configuration import NUCLEI
from operations.prune import prune
from operations.restore import restore
from operations.roles import with_role
from operations.target import ROOT, Target, load_target
from stacks.environment import EnvironmentFileError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one operation: 0 when it is done, 1 when it failed on its way, 2 when it was refused and nothing changed."""
    options = _parser().parse_args(arguments)
    try:
        target = load_target(options.environment, say=_say, variables=os.environ)
        _run(options, target)
    except (RefusedError, EnvironmentFileError) as error:
        return _fail(f"refused: {error}", REFUSED)
    except OperationError as error:
        return _fail(f"failed: {error}", FAILED)
    except (BotoCoreError, ClientError) as error:
        return _fail(f"failed: AWS: {error}", FAILED)
    except KeyboardInterrupt:
        return _fail("stopped; run the same again to go on", INTERRUPTED)
    return 0


def _run(options: argparse.Namespace, target: Target) -> None:
    environment = target.environment
    if options.operation == "deploy":
        deploy(target, cdk=pinned_cdk(environment.name), approved=options.approve)
    elif options.operation == "destroy":
        destroy(
            target,
            cdk=pinned_cdk(environment.name),
            confirm=lambda question: _ask(question, environment.namespace),
            approved=options.approve,
            force=options.force,
            device_seconds=options.device_seconds,
        )
    elif options.operation == "prune":
        prune(target, act=options.yes)
    else:
        out = options.out or ROOT / "build" / "devices" / environment.name / options.name
        make_device(target, name=options.name, out=out, kind=options.nucleus, root=options.root, user=options.user)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m operations",
        description=__doc__,
        epilog="The account is named by EDGE_<ENV>_ACCOUNT, the region by EDGE_<ENV>_REGION (us-east-1 by default); "
        "credentials are found as the AWS CLI finds them. Exit codes: 0 done, 1 failed, 2 refused.",
    )
    operations = parser.add_subparsers(dest="operation", required=True, metavar="OPERATION")

    def operation(name: str, help_: str) -> argparse.ArgumentParser:
        added = operations.add_parser(name, help=help_, description=help_)
        added.add_argument("environment", help="a file of environments/, without .toml")
        return added

    deploying = operation("deploy", "deploy the environment's stacks with the CDK")
    deploying.add_argument("--approve", action="store_true", help="ask nothing; prod is deployed with it only")
    destroying = operation("destroy", "clear the devices, delete stacks and versions; tell what is kept")
    destroying.add_argument("--approve", action="store_true", help="ask nothing; prod is destroyed with it only")
    destroying.add_argument("--force", action="store_true", help="do not wait for devices to remove their components")
    destroying.add_argument(
        "--device-seconds", type=float, default=DEVICE_SECONDS, help="how long to wait for devices (%(default)g)"
    )
    pruning = operation("prune", "show component versions and artifacts that nothing names any more, or delete them")
    pruning.add_argument("--yes", action="store_true", help="delete them")
    making = operation("device", "issue a device's certificate and write its folder")
    making.add_argument("name", help="of the device, as in the environment's file")
    making.add_argument("--out", type=Path, help="the folder to write (build/devices/<environment>/<name>)")
    making.add_argument("--nucleus", choices=sorted(NUCLEI), help="the environment's by default")
    making.add_argument("--root", help="the nucleus's folder on the device (its documentation's by default)")
    making.add_argument("--user", help="user:group that runs components (the nucleus's documentation's by default)")
    return parser


def _ask(question: str, expected: str) -> bool:
    if not sys.stdin.isatty():
        raise RefusedError("nobody can be asked here; APPROVE=yes answers beforehand")
    return input(question).strip() == expected


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
