"""Generated from proto/capacitybroker/v1; do not edit."""
