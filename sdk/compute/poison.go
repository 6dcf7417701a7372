package compute

import (
	"fmt"
	"math"
	"os"
)

// Unwritten is the NaN that a device fills memory with where [Poison] is on.
var Unwritten = float32(math.NaN())

// Poison returns whether devices fill every array, scratch block and pooled block with
// NaN each time they hand it out: true if the environment variable CMI_POISON is "on",
// false if it is unset, empty or "off", and an error for any other value. Tests turn it
// on, so that a kernel which reads a value that nobody wrote gives NaN on every machine.
func Poison() (on bool, err error) {
	switch value := os.Getenv("CMI_POISON"); value {
	case "on":
		return true, nil
	case "", "off":
		return false, nil
	default:
		return false, fmt.Errorf("CMI_POISON=%s: want on or off", value)
	}
}
