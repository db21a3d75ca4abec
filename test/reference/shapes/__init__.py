"""Synthetic scenes of coloured shapes and the small models trained on them.

The package's test models must answer questions about pictures correctly, be small
enough to ship, and owe nothing to anybody's data. So the data is drawn: `scenes`
makes pictures, `questions` asks about them, `heldout` writes the files that tests
read, and each `train_*` script trains one model family on the same scenes.

Run a script with `PYTHONPATH=test/reference python -m shapes.train_llava --help`.
"""
