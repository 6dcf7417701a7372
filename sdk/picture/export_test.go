package picture

// Orientation lets the fuzz targets, which are outside, read EXIF alone.
var Orientation = orientation
