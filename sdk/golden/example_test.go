package golden_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
	"github.com/cmi-diffusion/cmi/sdk/golden"
)

// The quick cases of a folder of vectors; here its schedules and operators.
func ExampleCases() {
	cases, err := golden.Cases(os.DirFS("../../testdata/golden"), golden.Options{Quick: true})
	if err != nil {
		log.Fatal(err)
	}
	var some []computetest.Case
	for _, c := range cases {
		if c.Group == "schedule" || c.Group == "operator" {
			some = append(some, c)
		}
	}
	dev := cpu.New(0)
	defer dev.Close()
	passed, failed, skipped := computetest.Run(context.Background(), dev, some, nil)
	fmt.Println(passed, failed, skipped)
	// Output: 56 0 0
}
