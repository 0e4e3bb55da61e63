"""Pages: what a reader of results sees.

notebook.py   what a notebook calls: plan, measure, show, verdict
execute.py    notebooks run by papermill
explore.py    the knobs of a notebook's last cell
table.py      the README's table of claims
forest.py     the forest plot of all parts, in gallery and README
verdicts.py   verdicts as they are stored, and as table and gallery write them
gallery/      the static web pages
new_claim/    a new claim's files from templates

May import everything but the command line. A first reader needs notebook.py.
"""
