package golden

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/diffusion"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/network"
	"github.com/cmi-diffusion/cmi/sdk/prior/pretrained"
)

// formatCases checks formats/CASE: priors in the formats of other libraries, by the noise that
// they predict, whatever the network predicts, and its derivatives.
func formatCases(dir fs.FS, o Options) ([]computetest.Case, error) {
	var bounds []bound
	for _, q := range formatQuantities {
		bounds = append(bounds, bound{q.name, q.bound})
	}
	return folderCases(dir, o, "formats", "format", bounds, func(path string, io *vectors, k int, dev compute.Device) (float64, error) {
		p, err := formatPoint(dir, path, io, dev)
		if err != nil {
			return 0, err
		}
		defer p.close()
		return formatQuantities[k].error(p)
	})
}

// noisePoint is the predicted noise of a model at a point.
type noisePoint struct {
	prior.Point
	in       map[string]compute.Tensor
	want     *vectors
	model    *network.Model
	ws       *compute.Workspace
	alphaBar []float64 // of each image
}

func (p *noisePoint) close() { p.ws.Free(); p.model.Close() }

// compare compares the noise's channels of a result.
func (p *noisePoint) compare(got compute.Tensor, err error, name string) (float64, error) {
	if err != nil {
		return 0, err
	}
	c, _, _ := p.model.Image()
	return p.want.compare(p.model.Device(), got.Channels(0, c), name)
}

var formatQuantities = []struct {
	name  string
	bound float64
	error func(p *noisePoint) (float64, error)
}{
	{"alpha_bar", 1e-6, func(p *noisePoint) (float64, error) {
		want, err := p.want.Float64s("alpha_bar", len(p.alphaBar))
		return relative(p.alphaBar, want), err
	}},
	{"eps", 1e-5, func(p *noisePoint) (float64, error) { return p.compare(p.Out(), nil, "eps") }},
	// x0 = (x_t − √(1−ᾱ) ε)/√ᾱ is a difference of nearly equal pictures where noise rules.
	{"x0", 1e-4, func(p *noisePoint) (float64, error) {
		var signal, noise []float64
		for _, a := range p.alphaBar {
			signal, noise = append(signal, 1/math.Sqrt(a)), append(noise, -math.Sqrt((1-a)/a))
		}
		x := p.in["x"]
		x0 := p.ws.Like(x)
		if err := p.ws.Err(); err != nil {
			return 0, err
		}
		p.model.Device().Combine(x0, compute.Term{X: x, Coef: signal}, compute.Term{X: p.Out().Channels(0, x.C), Coef: noise})
		return p.compare(x0, nil, "x0")
	}},
	{"vjp", 1e-5, func(p *noisePoint) (float64, error) {
		u := p.in["u"]
		if out := p.Out(); out.C != u.C { // variance channels take no part
			full := p.ws.Like(out)
			if err := p.ws.Err(); err != nil {
				return 0, err
			}
			p.model.Device().Combine(full.Channels(0, u.C), compute.Times(1, u))
			p.model.Device().Combine(full.Channels(u.C, out.C), compute.Times(0, u))
			u = full
		}
		got, err := p.VJP(u)
		return p.compare(got, err, "vjp")
	}},
	{"jvp", 1e-5, func(p *noisePoint) (float64, error) {
		got, err := p.JVP(p.in["v"])
		return p.compare(got, err, "jvp")
	}},
	{"d2_vv", 1e-4, func(p *noisePoint) (float64, error) {
		got, err := p.Second(p.in["v"], p.in["v"])
		return p.compare(got, err, "d2_vv")
	}},
	{"d2_vw", 1e-4, func(p *noisePoint) (float64, error) {
		got, err := p.Second(p.in["v"], p.in["w"])
		return p.compare(got, err, "d2_vw")
	}},
}

// formatPoint loads a case's model and evaluates it.
func formatPoint(dir fs.FS, path string, io *vectors, dev compute.Device) (p *noisePoint, err error) {
	m, err := loadFormat(dir, path, dev)
	if err != nil {
		return nil, err
	}
	p = &noisePoint{model: m, want: io, ws: compute.NewWorkspace(dev)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	var steps []int
	if p.in, steps, err = io.inputs(p.ws); err != nil {
		return nil, err
	}
	if io.has("label") {
		labels, err := io.Ints("label", len(steps))
		if err != nil {
			return nil, err
		}
		if err := m.SetClass(ints(labels)...); err != nil {
			return nil, err
		}
	}
	_, betas := m.NoiseSchedule()
	all := diffusion.AlphaBars(betas)
	for _, t := range steps {
		if t < 0 || t >= len(all) {
			return nil, fmt.Errorf("%s: timestep %d of a schedule of %d", path, t, len(all))
		}
		p.alphaBar = append(p.alphaBar, all[t])
	}
	p.Point, err = m.At(p.in["x"], steps)
	return p, err
}

// loadFormat loads the model of formats/CASE. config.json names its file or folder and what
// the file can't tell.
func loadFormat(dir fs.FS, path string, dev compute.Device) (*network.Model, error) {
	text, err := fs.ReadFile(dir, path+"/config.json")
	if err != nil {
		return nil, err
	}
	var config struct{ Format, Model string }
	keys := map[string]any{}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%s/config.json: %w", path, err)
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("%s/config.json: %w", path, err)
	}
	file, err := pretrained.OpenFS(dir, path+"/"+config.Model, func(name string) (*checkpoint.File, error) { return openCheckpoint(dir, name) })
	if err != nil {
		return nil, err
	}
	// diffusers and EDM tell all themselves.
	var override []byte
	if config.Format == "guided-diffusion" || config.Format == "ddpm" {
		told := map[string]any{"rescale_timesteps": false, "diffusion_steps": keys["T"]}
		for _, name := range []string{"schedule", "image_size", "num_heads", "num_head_channels", "use_new_attention_order", "attention_ds", "rescale_timesteps"} {
			if v, ok := keys[name]; ok {
				told[name] = v
			}
		}
		if told["num_head_channels"] != nil && told["num_head_channels"] != -1.0 {
			delete(told, "num_heads") // counts only without
		}
		if override, err = json.Marshal(told); err != nil {
			return nil, err
		}
	}
	return pretrained.Load(dev, file, override)
}
