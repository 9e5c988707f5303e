"""The three stages of training, on one short loop."""
