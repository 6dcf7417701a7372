package experiment

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/measure"
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
func Estimate(ctx context.Context, m prior.Model, tasks, methods []string, options func(Cell) (sdk.Options, error), onArm func(done, all int)) ([]Cost, error) {
	c, h, w := m.Image()
	dev := m.Device()
	op, err := measure.ForTask(tasks[0], dev, c, h, w, diffusion.Stream{Purpose: diffusion.Degradation}.Rand())
	if err != nil {
		return nil, err
	}
	defer op.Close()
	x := make([]float32, c*h*w)
	diffusion.Stream{Purpose: diffusion.Synthetic}.Uniform(x)
	y, err := sdk.Measure(dev, op, x, 0.05, 0, nil)
	if err != nil {
		return nil, err
	}
	var costs []Cost
	for i, method := range methods {
		var perPass [2]float64 // of the method and of the term
		for arm, withCMI := range []bool{false, true} {
			cell := Cell{tasks[0], method, withCMI}
			o, err := options(cell)
			if err != nil {
				return nil, err
			}
			seconds, taken, err := timeStep(ctx, sdk.Problem{Prior: m, Operator: op, Y: y, N: 1, SigmaY: 0.05}, o, x)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cell.Arm(), err)
			}
			if base := 1 + o.Method.Cost(o.Schedule, middle(o)).Passes(); withCMI {
				perPass[1] = max(0, seconds-perPass[0]*float64(base)) / float64(max(1, taken-base))
			} else {
				perPass[0] = seconds / float64(taken)
			}
			cost := Cost{Cell: Cell{Method: method, CMI: withCMI}}
			for _, task := range tasks {
				if o, err = options(Cell{task, method, withCMI}); err != nil {
					return nil, err
				}
				base, extra := sdk.Passes(o)
				cost.Passes += float64(base+extra) / float64(len(tasks))
				cost.Seconds += (float64(base)*perPass[0] + float64(extra)*perPass[1]) / float64(len(tasks))
			}
			costs = append(costs, cost)
			if onArm != nil {
				onArm(2*i+arm+1, 2*len(methods))
			}
		}
	}
	return costs, nil
}

// middle is the index of a guided step a third from the end, or of any step there
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

// timeStep is the shortest of a few equal steps, in the middle of where the
// information term acts, in seconds, and its passes.
func timeStep(ctx context.Context, p sdk.Problem, o sdk.Options, x []float32) (seconds float64, passes int, err error) {
	at := middle(o)
	s, err := sdk.NewSolver(p, o)
	if err != nil {
		return 0, 0, err
	}
	defer s.Close()
	seconds = math.Inf(1)
	for k, start := 0, time.Now(); k < 3 && (k < 2 || time.Since(start) < enough); k++ {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		if err := s.SetState(x, at); err != nil {
			return 0, 0, err
		}
		before, began := s.Passes(), time.Now()
		if err := s.Step(); err != nil {
			return 0, 0, err
		}
		if _, _, err := s.State(); err != nil { // waits for the device
			return 0, 0, err
		}
		seconds, passes = min(seconds, time.Since(began).Seconds()), s.Passes()-before
	}
	return seconds, passes, nil
}
