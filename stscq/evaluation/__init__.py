"""What is measured of a codec. Every evaluator writes one schema; tables and figures only read it."""
