package compute

import (
	"fmt"
	"os"
)

// Switch returns whether the environment variable name, which turns an optimisation off
// for comparisons, is on: true if it is unset, empty or "on", false if it is "off", and
// an error for any other value.
func Switch(name string) (on bool, err error) {
	switch value := os.Getenv(name); value {
	case "", "on":
		return true, nil
	case "off":
		return false, nil
	default:
		return true, fmt.Errorf("%s=%s: want on or off", name, value)
	}
}
