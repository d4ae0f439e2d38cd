"""Studies: declared comparisons of networks, each trained with several seeds and set beside a paper's figures.

declaration.py   what a study declares, and the studies that ship: a YAML file each, in this folder
folder.py        a study's folder: a params.yaml of its own, and a plan with the number of steps
budget.py        from minutes to a number of steps
measure.py       figures of a network on evaluation sets, and of other pyramids than in training
command.py       the command `scn study`
run.py           runs a study: trains and measures what is missing
result.py        puts a result together from its rows
spread.py        mean, spread and differences over seeds
records.py       result.json
page.py          README.md; plot.py: plot.svg
"""
