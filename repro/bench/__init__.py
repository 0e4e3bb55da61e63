"""Benchmarks: each compares ways of doing one thing in one run, in turn, and reports medians and ratios; `long` alone
trains whole runs, and reports the minutes they take to an accuracy.

May import everything below the claims: views, loader, core, data, ssl. A first reader need not enter; claims about time
plan the specs of specs.py and of `loader`.
"""
