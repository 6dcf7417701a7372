// Command intervals prints, as a JSON list from 2 samples to 64, the width of the 90 % interval of
// a pixel whose samples have standard deviation 1: what the npm package scales deviations by.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/cmi-diffusion/cmi/sdk/certainty"
)

func main() {
	log.SetFlags(0)
	var widths []float64
	for n := 2; n <= 64; n++ {
		half, err := certainty.Estimate{Std: []float32{1}, N: n}.HalfWidth(0.9)
		if err != nil {
			log.Fatal(err)
		}
		widths = append(widths, 2*half[0])
	}
	if err := json.NewEncoder(os.Stdout).Encode(widths); err != nil {
		log.Fatal(err)
	}
}
