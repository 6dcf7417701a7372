package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/prior/pretrained"
)

func infoCommand() *cobra.Command {
	var listDevices, tensors bool
	var config, key string
	c := &cobra.Command{
		Use:   "info [FILE]",
		Short: "Describe a checkpoint, or this build's devices",
		Example: `  cmi-native info faces64
  cmi-native info ffhq_10m.pt --tensors
  cmi-native info --devices`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			out := c.OutOrStdout()
			if listDevices || len(args) == 0 {
				listAll(c.Context(), out)
				return nil
			}
			return describe(out, args[0], key, config, tensors)
		},
	}
	c.Flags().BoolVar(&listDevices, "devices", false, "list the devices that this build holds")
	c.Flags().BoolVar(&tensors, "tensors", false, "list every tensor")
	c.Flags().StringVar(&key, "prior-key", "", keyUsage)
	c.Flags().StringVar(&config, "prior-config", "", "JSON `FILE` with what shapes can't tell")
	return c
}

// listAll says of every device whether it is there, and why not.
func listAll(ctx context.Context, out io.Writer) {
	for _, name := range keys(devices) {
		count := 1
		if kind := devices[name]; kind.count != nil {
			if n, err := kind.count(); err == nil { // an error comes again below
				count = n
			}
		}
		for i := range max(count, 1) {
			each := name
			if i > 0 {
				each = fmt.Sprintf("%s:%d", name, i)
			}
			dev, err := openDevice(ctx, each)
			if err != nil {
				fmt.Fprintf(out, "%s: not available: %v\n", each, err)
				continue
			}
			about := dev.Info()
			fmt.Fprintf(out, "%s: %s", each, about.Description)
			if about.Memory > 0 {
				fmt.Fprintf(out, ", %d MiB of memory to use", about.Memory>>20)
			}
			fmt.Fprintln(out)
			dev.Close()
		}
	}
}

func describe(out io.Writer, name, key, config string, tensors bool) error {
	file, err := openCheckpoint(name, key)
	if err != nil {
		return err
	}
	defer file.Close()
	count, total := 0, 0
	types := map[string]int{}
	for _, n := range file.Names() {
		t, _ := file.Info(n)
		count++
		total += t.Len()
		types[strings.ToLower(string(t.DType))] += t.Len()
		if tensors {
			fmt.Fprintf(out, "%-48s %-5s %v\n", n, t.DType, t.Shape)
		}
	}
	fmt.Fprintf(out, "%s: %s, %d tensors, %d parameters", name, file.Format(), count, total)
	for _, k := range keys(types) {
		fmt.Fprintf(out, ", %s %d", k, types[k])
	}
	fmt.Fprintln(out)
	if len(file.Keys()) > 1 {
		fmt.Fprintln(out, taken(file))
	}
	override, err := readConfig(config)
	if err != nil {
		return err
	}
	about, err := pretrained.Configure(file, override)
	if err == nil {
		err = about.Check()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(out, "%s: %s\n", about.Format, strings.Join(about.Summary, "\n"))
	if about.Classes > 0 {
		fmt.Fprintf(out, "class-conditional: --class 0 … %d says what a picture shows\n", about.Classes-1)
	}
	if len(about.Assumed) > 0 {
		fmt.Fprintln(out, assumed(about))
	}
	return nil
}
