// Package computetest is the conformance suite of compute devices: what a
// [compute.Device] must do before a network may run on it.
//
// Every case puts inputs on the device as views surrounded by guard words,
// poisons the destination with NaN, calls one kernel, and compares the result
// with a naive float64 oracle; guards, sources and everything outside the
// destination's view must be as they were. Derivatives are compared with
// extrapolated float64 differences of the oracle's value, so no derivative
// formula is trusted twice.
//
// The package does not import testing: a command or a browser page calls [Run],
// and a Go test calls the adapter in
// [github.com/cmi-diffusion/cmi/sdk/compute/computetest/devicetest].
//
// The oracle is exported (Ref… functions on [Array]) for float64 references of
// larger computations.
package computetest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// The bounds on [RelativeError]. Where a case uses another bound, the reason
// stands beside it.
const (
	Ordinary = 1e-6 // elementwise kernels, group normalisation, resampling
	Products = 5e-6 // long sums of products: convolution, matrices, correlation, attention
)

// Case is one promise of a device and how it is tried.
type Case struct {
	Group string // the kernel or promise, e.g. "conv-adjoint"
	Name  string // shapes, layout and variant, unique inside the group
	Bound float64
	// Run tries the promise and returns the relative error found. An error is a
	// failure whatever its size: the device's own, or a word that changed outside
	// the destination. See [Skip] for cases that do not apply.
	Run func(ctx context.Context, dev compute.Device) (float64, error)
}

// Result is what came of a case.
type Result struct {
	Case
	Error    float64 // relative error; compare with Bound
	Passed   bool
	Skipped  string // the reason, where the case was not run
	Failure  error  // why it failed, where that is not Error alone
	Note     string // what the case has to say beside its error, see [Note]
	Duration time.Duration
}

// String returns one line for people.
func (r Result) String() string {
	name := r.Group + ": " + r.Name
	switch {
	case r.Skipped != "":
		return "skip " + name + ": " + r.Skipped
	case r.Passed:
		if r.Note != "" {
			name += ", " + r.Note
		}
		return fmt.Sprintf("pass %s (%.1e ≤ %.0e)", name, r.Error, r.Bound)
	case r.Failure != nil:
		return fmt.Sprintf("FAIL %s: %v", name, r.Failure)
	}
	return fmt.Sprintf("FAIL %s: relative error %.3e, allowed %.0e", name, r.Error, r.Bound)
}

type skip string

func (s skip) Error() string { return string(s) }

// Skip returns the error that a case returns where it does not apply to a device.
func Skip(reason string) error { return skip(reason) }

type note string

func (n note) Error() string { return string(n) }

// Note returns the error that a case returns where all is well but for its relative error,
// to have something said with the result.
func Note(text string) error { return note(text) }

// Run runs cases in order on a device and reports each result as it comes
// (report may be nil). A panic is a failure of its case. After ctx ends, the
// remaining cases are skipped.
func Run(ctx context.Context, dev compute.Device, cases []Case, report func(Result)) (passed, failed, skipped int) {
	for _, c := range cases {
		r := one(ctx, dev, c)
		switch {
		case r.Skipped != "":
			skipped++
		case r.Passed:
			passed++
		default:
			failed++
		}
		if report != nil {
			report(r)
		}
	}
	return passed, failed, skipped
}

func one(ctx context.Context, dev compute.Device, c Case) (r Result) {
	r.Case = c
	if err := ctx.Err(); err != nil {
		r.Skipped = err.Error()
		return r
	}
	start := time.Now()
	defer func() {
		r.Duration = time.Since(start)
		if p := recover(); p != nil {
			r.Error, r.Passed, r.Failure = math.NaN(), false, fmt.Errorf("panic: %v", p)
		}
	}()
	r.Error, r.Failure = c.Run(ctx, dev)
	var s skip
	if errors.As(r.Failure, &s) {
		r.Skipped, r.Failure = string(s), nil
		return r
	}
	var n note
	if errors.As(r.Failure, &n) {
		r.Note, r.Failure = string(n), nil
	}
	r.Passed = r.Failure == nil && r.Error <= c.Bound // false for NaN
	return r
}

// RelativeError returns ‖got − ref‖₂/‖ref‖₂, or ‖got‖₂ where ref is zero. It is +Inf
// where lengths differ or got is not finite.
func RelativeError(got, ref []float64) float64 {
	if len(got) != len(ref) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i, r := range ref {
		d := got[i] - r
		diff += d * d
		norm += r * r
	}
	if norm == 0 {
		norm = 1
	}
	e := math.Sqrt(diff / norm)
	if math.IsNaN(e) {
		return math.Inf(1)
	}
	return e
}

// Ops returns the suite of all kernels: each in value, adjoint, tangent and second
// coefficient where it has them, over odd shapes, views and aliasing. quick is
// about a tenth of the work, for slow devices; its cases are among the others.
func Ops(quick bool) []Case {
	s := &suite{quick: quick}
	s.memory()
	s.conv()
	s.resample()
	s.separable()
	s.correlate()
	s.groupNorm()
	s.attention()
	s.pointwise()
	s.maps()
	s.random()
	return s.cases
}

// suite collects cases.
type suite struct {
	quick bool
	cases []Case
}

// add appends a case whose body returns the relative error; inQuick marks the
// ones that the quick suite keeps.
func (s *suite) add(inQuick bool, group, name string, bound float64, body func(*bench) float64) {
	if s.quick && !inQuick {
		return
	}
	s.cases = append(s.cases, Case{group, name, bound, func(_ context.Context, dev compute.Device) (float64, error) {
		b := newBench(dev, group+name)
		defer b.free()
		return b.try(func(b *bench) float64 {
			e := body(b)
			b.intact()
			return e
		})
	}})
}

// seedOf makes each case's inputs its own and the same on every run.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}
