"""Pages: what a reader of results sees.

notebook.py   what a notebook calls: plan, measure, show, verdict
execute.py    notebooks run by papermill
explore.py    the knobs of a notebook's last cell
table.py      the README's table of claims
gallery/      the static web pages

May import everything but the command line. A first reader needs notebook.py.
"""
