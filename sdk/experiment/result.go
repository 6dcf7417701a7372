package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Result is a line of results.jsonl: the quality of one sample and what its run
// told step by step. Distances are those of the 8-bit pictures in the folder, so
// that any other program can repeat them.
type Result struct {
	Cell
	Image  string `json:"image"`
	Sample int    `json:"sample"` // from 1

	PSNR      *float64 `json:"psnr"` // dB; null where the pictures are equal
	SSIM      float64  `json:"ssim"`
	LPIPS     float64  `json:"lpips"`
	LPIPSName string   `json:"lpips_name"` // which perceptual distance lpips is
	MSE       float64  `json:"mse"`        // mean squared error, pictures on [0, 1]
	// Apart are the distances between this sample and the first, from the second on.
	Apart *Apart `json:"apart,omitempty"`

	Passes  int `json:"passes"`  // network passes, in forwards
	Limited int `json:"limited"` // steps whose information term the trust radius shortened

	Residual    Curve `json:"residual"`              // ‖y − A x̂0‖ in each step
	Information Curve `json:"information,omitempty"` // estimate of I(x0; y | x_t) in nats; null where the term did not act

	// SHA-256 of the pictures' files; results of earlier versions have those of restored ones alone.
	Truth       string `json:"truth,omitempty"`
	Measurement string `json:"measurement,omitempty"`
	Picture     string `json:"picture"` // restored

	Check string `json:"check"` // of everything before it, see verify

	seconds float64 // for timings.jsonl
}

// check returns the first 16 hexadecimal digits of the SHA-256 of a result without its check.
func (r *Result) check() string {
	plain := *r
	plain.Check = ""
	text, err := json.Marshal(plain)
	if err != nil {
		return "" // of what can't be written; the line that is, says why
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// verify finds numbers that were changed since they were written.
func (r *Result) verify() error {
	if r.Check != r.check() {
		return fmt.Errorf("the result of %v was changed since it was written", shown(r.job().String()))
	}
	return nil
}

// Apart is how far two samples for one measurement are apart.
type Apart struct {
	MSE   float64 `json:"mse"`
	LPIPS float64 `json:"lpips"`
}

// Curve is one value for each step of a run, the first at pure noise. NaN, null in
// JSON, is a step without a value; six digits are kept.
type Curve []float64

// MarshalJSON implements [json.Marshaler].
func (c Curve) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i, v := range c {
		if i > 0 {
			out = append(out, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			out = append(out, "null"...)
		} else {
			out = strconv.AppendFloat(out, v, 'g', 6, 64)
		}
	}
	return append(out, ']'), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (c *Curve) UnmarshalJSON(data []byte) error {
	var values []*float64
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	*c = make(Curve, len(values))
	for i, v := range values {
		if v == nil {
			(*c)[i] = math.NaN()
		} else {
			(*c)[i] = *v
		}
	}
	return nil
}

// timing is a line of timings.jsonl. Times stand apart, so that results.jsonl has
// the same bytes in every run.
type timing struct {
	Cell
	Image   string  `json:"image"`
	Sample  int     `json:"sample"`
	Seconds float64 `json:"seconds"`
}

// is says whether a result is that of a job.
func (r *Result) is(j Job) bool {
	return r.Cell == j.Cell && r.Image == j.Name && r.Sample == j.Sample
}

func (r *Result) job() Job { return Job{Cell: r.Cell, Name: r.Image, Sample: r.Sample} }
