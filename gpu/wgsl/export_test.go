package wgsl

// StageAtMost bounds what a convolution in tiles stages at a time.
func (d *Device) StageAtMost(floats int) { d.staged = floats }
