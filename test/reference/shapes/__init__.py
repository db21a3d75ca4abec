"""Synthetic scenes of coloured shapes and the small models trained on them.

The package's test models must answer questions about pictures correctly, be small
enough to ship, and owe nothing to anybody's data. So the data is drawn: `scenes`
makes pictures, `questions` asks about them, `heldout` writes the files that tests
read, and the `train*` scripts train model families on the same scenes, all with `loop`;
`check` asks the results. Nougat reads `pages` instead.

Run a script with `PYTHONPATH=test/reference python -m shapes.train_llava --help`.
"""
