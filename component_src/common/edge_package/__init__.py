# SPDX-License-Identifier: Apache-2.0
"""Manifests, digests and deterministic archives; standard library only, shared by synth, Lambda, tools and device."""

from edge_package.errors import PackageError
from edge_package.manifest import MANIFEST_NAME, FileEntry, Manifest
from edge_package.package import Package, build_package, make_manifest, read_package, write_directory

__all__ = [
    "MANIFEST_NAME",
    "FileEntry",
    "Manifest",
    "Package",
    "PackageError",
    "build_package",
    "make_manifest",
    "read_package",
    "write_directory",
]
