# SPDX-License-Identifier: Apache-2.0
"""Manifests, digests and deterministic archives; standard library only, shared by synth, Lambda, tools and device."""

from edge_package.errors import PackageError
from edge_package.manifest import MANIFEST_NAME, FileEntry, Manifest
from edge_package.package import Package, make_manifest, read_package, write_directory
from edge_package.package_file import measure_package_file, read_package_file
from edge_package.signature import SIGNATURE_NAME, SIGNATURE_SUFFIX, Signature

__all__ = [
    "MANIFEST_NAME",
    "SIGNATURE_NAME",
    "SIGNATURE_SUFFIX",
    "FileEntry",
    "Manifest",
    "Package",
    "PackageError",
    "Signature",
    "make_manifest",
    "measure_package_file",
    "read_package",
    "read_package_file",
    "write_directory",
]
