# SPDX-License-Identifier: Apache-2.0
"""A gRPC server over HTTP/2 for unary calls on a unix socket, quicker than grpcio's: see docs/decisions/0016.

Data flows one way through the modules: ``frames`` and ``headers`` are the formats, ``source`` and ``sink`` the two
directions of a socket, ``exchange`` one call, ``connection`` one client, ``overseer`` what no client's thread can do,
``server`` all of them together. RFC 9113 is HTTP/2, RFC 7541 its header compression; gRPC over it is described in
doc/PROTOCOL-HTTP2.md of grpc/grpc.
"""
