"""Decides which claims get which accelerators, where and when."""
