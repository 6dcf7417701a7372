package compute

import (
	"fmt"
	"os"
)

// Switch reads an environment variable that is set to off to do without something, for
// comparisons: true where it is not set or on, an error where it is anything else.
func Switch(name string) (on bool, err error) {
	switch value := os.Getenv(name); value {
	case "", "on":
		return true, nil
	case "off":
		return false, nil
	default:
		return true, fmt.Errorf("%s=%s: on or off is wanted", name, value)
	}
}
