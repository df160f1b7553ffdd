"""What a classifier is worth: pure measures, calibration, and the evaluation of a whole task."""
