"""Thin gRPC: decode, one call, encode. The only home of grpc and of the generated messages."""
