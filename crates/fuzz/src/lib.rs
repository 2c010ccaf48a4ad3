//! Fuzz targets: one function for each kind of input that comes from outside.
