"""Benchmarks: each compares ways of doing one thing in one run, in turn, and reports medians and ratios."""
