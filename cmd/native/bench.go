package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/experiment"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/pretrained"
)

func benchCommand() *cobra.Command {
	var model modelFlags
	var batch, rounds int
	var shapes string
	var only []string
	var asJSON, inStep, memory, convs bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time network passes and sampler steps, as multiples of one forward",
		Long: `bench times, in turn and over many rounds, the network's forward F and its derivatives, then whole
DPS and CMI+DPS steps. A figure is the median over the rounds of the ratio to the forward of the
same round; "passes" is the cost model: 2 F for a DPS step, 3 + K for CMI+DPS with one probe and K ≥ 1.

With --convs it times the convolutions of the released 256×256 networks, each alone, in TFLOP/s.

With --memory it takes two steps of each kind instead and prints the most memory that the device, or
where it does not count its own the process, has held so far, weights and loading included.`,
		Example: `  cmi-native bench
  cmi-native bench --prior ffhq_10m.pt --rounds 3
  cmi-native bench --shapes ffhq --memory
  cmi-native bench --only forward,VJP --json`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if most := 1_000_000; batch < 1 || rounds < 1 || batch > most || rounds > most {
				return fmt.Errorf("--batch %d and --rounds %d, 1 to %d of each are possible", batch, rounds, most)
			}
			if convs {
				return benchConvsOn(c, model.device, batch, rounds, asJSON)
			}
			m, closeModel, err := model.openShapes(c.Context(), shapes)
			if err != nil {
				return err
			}
			defer closeModel()
			plan, err := benchSpec(true).Plan(m, batch) // of the largest item
			if err != nil {
				return err
			}
			if err := plan.Fits(); err != nil {
				return err
			}
			all, free, err := benchItems(m, batch)
			if err != nil {
				return failed(err)
			}
			defer free()
			out := c.OutOrStdout()
			if memory {
				return failed(benchMemory(c, m.Device(), all))
			}
			items, err := choose(all, only)
			if err != nil {
				return err
			}
			bar := newProgress(c.ErrOrStderr(), (1+rounds)*len(items))
			if inStep { // another program waits for the times
				bar = nil
			}
			// The first time allocates and transforms weights.
			if err := timeRounds(c.Context(), items, 1, bar); err != nil {
				return failed(err)
			}
			if inStep {
				return failed(benchInStep(c.Context(), c.InOrStdin(), out, items, rounds))
			}
			if err := timeRounds(c.Context(), items, rounds, bar); err != nil {
				return failed(err)
			}
			bar.finish()
			if asJSON {
				return json.NewEncoder(out).Encode(items)
			}
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintf(t, "%s, batch %d\tmilliseconds\ttime / F\tspread\tpasses\n", m.Device().Info().Description, batch)
			for _, i := range items {
				fmt.Fprintf(t, "%s\t%.1f\t%.2f\t%.2f … %.2f\t%d\n", i.Name, i.Milliseconds, i.Ratio, i.Low, i.High, i.Passes)
			}
			return t.Flush()
		},
	}
	model.add(c)
	c.Flags().StringVar(&shapes, "shapes", "", "instead of --prior, a published network's shapes with made-up weights: "+strings.Join(keys(published), ", "))
	c.Flags().IntVar(&batch, "batch", 1, "images at a time")
	c.Flags().IntVar(&rounds, "rounds", 25, "rounds; the median is reported")
	c.Flags().StringSliceVar(&only, "only", nil, "what to time beside the forward: VJP, JVP, jet, DPS, CMI; `LIST` may be just forward (default all)")
	c.Flags().BoolVar(&convs, "convs", false, "time the heavy convolutions instead; no prior is needed")
	c.Flags().BoolVar(&asJSON, "json", false, "machine-readable, with every round's time")
	c.Flags().BoolVar(&inStep, "in-step", false, "for comparisons: --rounds rounds for each line of standard input, their times as JSON")
	c.Flags().BoolVar(&memory, "memory", false, "print the memory that steps take (Linux, or on webgpu)")
	return c
}

// published is the networks of --shapes, by the preset that has them.
var published = map[string]string{"ffhq": "paper-ffhq", "imagenet": "paper-imagenet"}

// openShapes opens the prior, or a published network's shapes.
func (f *modelFlags) openShapes(ctx context.Context, shapes string) (*network.Model, func(), error) {
	if shapes == "" {
		return f.open(ctx)
	}
	preset, err := experiment.FindPreset(published[shapes])
	if err != nil {
		return nil, nil, fmt.Errorf("--shapes %s: there are %s", shapes, strings.Join(keys(published), ", "))
	}
	return f.openFormula(ctx, preset)
}

// openFormula opens the network of a preset with made-up weights.
func (f *modelFlags) openFormula(ctx context.Context, preset experiment.Preset) (*network.Model, func(), error) {
	formula, config, err := preset.Formula()
	if err != nil {
		return nil, nil, err
	}
	dev, err := openDevice(ctx, f.device)
	if err != nil {
		return nil, nil, err
	}
	m, err := pretrained.Load(dev, formula, config)
	if err != nil {
		dev.Close()
		return nil, nil, failed(err)
	}
	return m, func() { m.Close(); dev.Close() }, nil
}

// choose returns the forward and the items that --only names.
func choose(all []*benchItem, only []string) ([]*benchItem, error) {
	if len(only) == 0 {
		return all, nil
	}
	items := all[:1:1]
	for _, key := range only {
		i := slices.IndexFunc(all, func(i *benchItem) bool { return i.key == key })
		if i < 0 {
			return nil, fmt.Errorf("--only %s: forward, VJP, JVP, jet, DPS and CMI are there", key)
		}
		if i > 0 {
			items = append(items, all[i])
		}
	}
	return items, nil
}

// benchItem is one thing that is timed.
type benchItem struct {
	Name         string    `json:"name"`
	Passes       int       `json:"passes"` // by the cost model, in forwards
	Milliseconds float64   `json:"milliseconds"`
	Ratio        float64   `json:"ratio"` // to the forward of the same round: median
	Low          float64   `json:"low"`   // quartiles
	High         float64   `json:"high"`
	Seconds      []float64 `json:"seconds"`
	key          string
	run          func() error
}

// timeRounds runs all items in turn; the first, the forward, is the unit. bar, if there
// is one, is told between them.
func timeRounds(ctx context.Context, items []*benchItem, rounds int, bar *progress) error {
	for _, i := range items {
		i.Seconds = nil
	}
	for range rounds {
		for _, i := range items {
			if err := ctx.Err(); err != nil {
				return err
			}
			start := time.Now()
			if err := i.run(); err != nil {
				return fmt.Errorf("%s: %w", i.Name, err)
			}
			i.Seconds = append(i.Seconds, time.Since(start).Seconds())
			if bar != nil {
				bar.run(i.Name)(1)
			}
		}
	}
	for _, i := range items {
		ratios := make([]float64, rounds)
		for r := range ratios {
			ratios[r] = i.Seconds[r] / items[0].Seconds[r]
		}
		i.Milliseconds = 1000 * quantile(i.Seconds, 0.5)
		i.Ratio, i.Low, i.High = quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)
	}
	return nil
}

func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[int(math.Round(q*float64(len(s)-1)))]
}

// benchSpec returns the restoration whose steps are timed.
func benchSpec(withCMI bool) job.Spec {
	s := job.Default()
	s.CMI.On = withCMI
	return s
}

// benchItems returns a forward, its derivatives and the sampler's steps on random
// inputs in the middle of the schedule.
func benchItems(m *network.Model, batch int) (items []*benchItem, free func(), err error) {
	dev := m.Device()
	c, h, w := m.Image()
	ws := compute.NewWorkspace(dev)
	noise := make([]float32, batch*m.OutChannels()*h*w)
	for i := range noise {
		noise[i] = float32(math.Sin(float64(i) * 1.7)) // any dense values will do
	}
	x := ws.FromHost(noise[:batch*c*h*w], batch, c, h, w)
	u := ws.FromHost(noise, batch, m.OutChannels(), h, w)
	if err := ws.Err(); err != nil {
		return nil, nil, err
	}
	t := slices.Repeat([]int{300}, batch)
	var at prior.Point
	add := func(key, name string, passes int, run func() error) {
		items = append(items, &benchItem{Name: name, Passes: passes, key: key, run: func() error {
			if err := run(); err != nil {
				return err
			}
			return dev.Sync()
		}})
	}
	add("forward", "forward", 1, func() (err error) { at, err = m.At(x, t); return err })
	add("VJP", "VJP", 1, func() error { _, err := at.VJP(u); return err })
	add("JVP", "JVP", 1, func() error { _, err := at.JVP(x); return err })
	add("jet", "second-order jet", 2, func() error { _, err := at.Second(x, x); return err })

	free = ws.Free
	images := make([]job.Image, batch)
	for i := range images {
		images[i] = job.Image{C: c, H: h, W: w, Pix: noise[i*c*h*w : (i+1)*c*h*w], Number: uint64(i)}
	}
	for _, withCMI := range []bool{false, true} {
		s, release, err := benchSolver(m, benchSpec(withCMI), images)
		if err != nil {
			free()
			return nil, nil, err
		}
		key, name, passes := "DPS", "DPS step", 2
		if k := benchSpec(true).CMI.Lanczos; withCMI {
			key, name, passes = "CMI", fmt.Sprintf("CMI+DPS step, K = %d", k), 2+k+prior.SecondPasses(k)
		}
		before := free
		free = func() { s.Close(); release(); before() }
		start := noise[:batch*c*h*w]
		add(key, name, passes, func() error {
			if err := s.SetState(start, 40); err != nil { // where the term is active
				return err
			}
			return s.Step()
		})
	}
	return items, free, nil
}

// benchSolver returns the solver of a job.
func benchSolver(m prior.Model, spec job.Spec, images []job.Image) (*sdk.Solver, func(), error) {
	j, err := job.New(m, spec, images...)
	if err != nil {
		return nil, nil, err
	}
	p, release, err := j.Problem(m)
	if err != nil {
		return nil, nil, err
	}
	s, err := sdk.NewSolver(p, j.Options)
	return s, release, err
}
