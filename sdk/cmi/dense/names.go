// Package dense estimates the gradient of the information for small problems, by forming
// matrices: one direction for each measurement or pixel. It is the referee of the
// estimator by probes of package cmi.
package dense

// The estimators' names.
const (
	Trace        = "trace"
	TwoDirection = "two-direction"
	TwoTrace     = "two-trace"
)

// Limit is the largest number of measurements or pixels that the estimators take.
const Limit = 4096

// Directions is how many directions go through the network together, at most.
const Directions = 32
