"""The artefact floor: what a trained model becomes when it leaves training. Torch only in export.py."""
