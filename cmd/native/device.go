package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// deviceKind is a kind of compute device. Options stand behind its name, as in
// "cuda:1:bf16".
type deviceKind struct {
	help  string // the options, for people; "" without
	open  func(options []string) (compute.Device, error)
	count func() (int, error) // how many there are, whose numbers from 0 are options; nil for one
}

// devices are the kinds of this build by name. Each has a file device_NAME.go, which puts
// it here.
var devices = map[string]deviceKind{}

// findDevice returns the kind and the options of a device's name.
func findDevice(name string) (kind deviceKind, options []string, err error) {
	base, rest, some := strings.Cut(name, ":")
	kind, known := devices[base]
	if !known || some && kind.help == "" {
		return kind, nil, fmt.Errorf("unknown device %q: this build has %s", name, strings.Join(keys(devices), ", "))
	}
	if some {
		options = strings.Split(rest, ":")
	}
	return kind, options, nil
}

func openDevice(_ context.Context, name string) (compute.Device, error) {
	kind, options, err := findDevice(name)
	if err != nil {
		return nil, err
	}
	dev, err := kind.open(options)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return dev, nil
}

// deviceNames lists the devices for people.
func deviceNames() string {
	names := strings.Join(keys(devices), ", ")
	for _, name := range keys(devices) {
		if help := devices[name].help; help != "" {
			names += "; " + help
		}
	}
	return names
}
