package experiment

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/prior"
)

// Cost is what one image of an arm takes, as the mean over tasks.
type Cost struct {
	Cell            // Task is empty
	Passes  float64 // network passes, in forwards
	Seconds float64
}

// enough is when steps have been timed for long enough: two steps of slow networks
// are timed, the first of which allocates, else three.
const enough = 10 * time.Second

// Estimate times a few steps of every method, with and without the information
// term, on a device, and extrapolates to whole runs: the passes of a run, which are
// known, at the measured seconds for a pass of the method and for one of the term.
// It times the first task; operators without a closed inverse cost ΠGDM and MCG
// more. Its errors name the arm.
func Estimate(ctx context.Context, m prior.Model, tasks, methods []string, spec job.Spec, onArm func(done, all int)) ([]Cost, error) {
	var costs []Cost
	for i, method := range methods {
		var pass [2]time.Duration // of the method and of the term
		for arm, term := range []Term{Without, With} {
			cell := Cell{tasks[0], method, term}
			step, taken, base, err := timeStep(ctx, m, cell.Spec(spec))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cell.Arm(), err)
			}
			if term == With {
				pass[1] = max(0, step-time.Duration(base)*pass[0]) / time.Duration(max(1, taken-base))
			} else {
				pass[0] = step / time.Duration(taken)
			}
			cost := Cost{Cell: Cell{Method: method, CMI: term}}
			for _, task := range tasks {
				plan, err := Cell{task, method, term}.Spec(spec).Plan(m, 1)
				if err != nil {
					return nil, err
				}
				cost.Passes += float64(plan.Passes()) / float64(len(tasks))
				cost.Seconds += plan.Time(pass[0], pass[1]).Seconds() / float64(len(tasks))
			}
			costs = append(costs, cost)
			if onArm != nil {
				onArm(2*i+arm+1, 2*len(methods))
			}
		}
	}
	return costs, nil
}

// middle returns the index of a guided step a third from the end, or of any step there
// where none is guided.
func middle(o sdk.Options) int {
	third := o.Schedule.Len() / 3
	for at := third; at >= 0; at-- {
		if o.Method.Cost(o.Schedule, at).Guides {
			return at
		}
	}
	return third
}

// timeStep returns the shortest of a few equal steps on a random picture, in the middle of
// where the information term acts, with its passes, and those of it that the method takes.
func timeStep(ctx context.Context, m prior.Model, spec job.Spec) (shortest time.Duration, passes, base int, err error) {
	c, h, w := m.Image()
	x := make([]float32, c*h*w)
	diffusion.Stream{Purpose: diffusion.Synthetic}.Uniform(x)
	work, err := job.New(m, spec, job.Image{C: c, H: h, W: w, Pix: x})
	if err != nil {
		return 0, 0, 0, err
	}
	p, free, err := work.Problem(m)
	if err != nil {
		return 0, 0, 0, err
	}
	defer free()
	o := work.Options
	at := middle(o)
	s, err := sdk.NewSolver(p, o)
	if err != nil {
		return 0, 0, 0, err
	}
	defer s.Close()
	shortest = math.MaxInt64
	for k, start := 0, time.Now(); k < 3 && (k < 2 || time.Since(start) < enough); k++ {
		if err := ctx.Err(); err != nil {
			return 0, 0, 0, err
		}
		if err := s.SetState(slices.Repeat(x, max(1, o.Particles)), at); err != nil {
			return 0, 0, 0, err
		}
		before, began := s.Passes(), time.Now()
		if err := s.Step(); err != nil {
			return 0, 0, 0, err
		}
		if _, _, err := s.State(); err != nil { // waits for the device
			return 0, 0, 0, err
		}
		shortest, passes = min(shortest, time.Since(began)), s.Passes()-before
	}
	return shortest, passes, o.Method.Cost(o.Schedule, at).Passes() * max(1, o.Particles), nil
}
