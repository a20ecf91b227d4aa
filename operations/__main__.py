# SPDX-License-Identifier: Apache-2.0
"""Deploy, verify, restore, destroy and prune an environment in your own account, and make its devices."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from operations.bootstrap import bootstrap_lines
from operations.cdk import pinned_cdk
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
        if options.operation in _WITHOUT_ENVIRONMENT:
            _WITHOUT_ENVIRONMENT[options.operation](options)
        else:
            _run(options, load_target(options.environment, say=_say, variables=os.environ))
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
    elif options.operation in {"verify", "restore", "promote"}:
        _gate(options, target)
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


def _gate(options: argparse.Namespace, target: Target) -> None:
    if options.assume_roles:
        environment = target.environment
        reader, writer = with_role(target, environment.verifier_role), with_role(target, environment.restorer_role)
    else:
        target.check_account()
        reader = writer = target
    if options.operation == "restore":
        restore(reader, writer=writer)
    elif options.operation == "promote":
        promote(reader, writer=writer)
    else:
        pass_gate(reader, writer=writer, first=options.first, restoring=options.restore, recording=options.record)


def _bootstrap_commands(_options: argparse.Namespace) -> None:
    for line in bootstrap_lines(os.environ):
        _say(line)


def _deploy_pipeline(options: argparse.Namespace) -> None:
    deploy_pipeline(cdk=pinned_cdk(None), variables=os.environ, say=_say, approved=options.approve)


def _change_report(options: argparse.Namespace) -> None:
    session = boto3.Session()
    report_change(
        s3=session.client("s3"),
        ssm=session.client("ssm"),
        base_parameter=options.base_parameter,
        base=options.base,
        to=options.to,
        out=options.out,
        say=_say,
    )


_WITHOUT_ENVIRONMENT: dict[str, Callable[[argparse.Namespace], None]] = {
    "bootstrap-commands": _bootstrap_commands,
    "change-report": _change_report,
    "pipeline": _deploy_pipeline,
}


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
        if name in _WITHOUT_ENVIRONMENT:
            return added
        added.add_argument("environment", help="a file of environments/, without .toml")
        return added

    deploying = operation("deploy", "deploy the environment's stacks with the CDK, and verify them on its devices")
    deploying.add_argument("--approve", action="store_true", help="ask nothing; prod is deployed with it only")
    _add_gate(operation)
    piping = operation("pipeline", "deploy the delivery pipeline with the CDK")
    piping.add_argument("--approve", action="store_true", help="ask nothing")
    operation("bootstrap-commands", "show how to bootstrap the accounts of the pipeline and its environments")
    reporting = operation("change-report", "write the report that an approval shows, and keep it in S3")
    reporting.add_argument("--base-parameter", required=True, help="SSM parameter with the commit to compare with")
    reporting.add_argument("--base", required=True, help="git ref to compare with where there is no such parameter")
    reporting.add_argument("--to", required=True, help="s3://bucket/key of the report")
    reporting.add_argument("--out", type=Path, required=True, help="the folder to write report and summary to")
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


def _add_gate(operation: Callable[[str, str], argparse.ArgumentParser]) -> None:
    verifying = operation("verify", "wait until devices show that they run what is declared, and run it well")
    verifying.add_argument("--first", action="store_true", help="only the group that a release reaches first")
    verifying.add_argument("--restore", action="store_true", help="restore the last good release if they do not")
    verifying.add_argument("--record", action="store_true", help="keep the release as the last good one if they do")
    restoring = operation("restore", "deploy the last good release again, and wait for the devices")
    promoting = operation("promote", "keep what is deployed as the last good release, without verifying it")
    for parser in (verifying, restoring, promoting):
        parser.add_argument(
            "--assume-roles", action="store_true", help="act with the environment's own roles, as a pipeline does"
        )


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
