package main

import (
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/cpu"
)

func init() {
	devices["cpu"] = deviceKind{open: func([]string) (compute.Device, error) { return cpu.Open(0) }}
}
