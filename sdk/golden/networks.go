package golden

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/compute"
	"github.com/cmi-diffusion/cmi/sdk/compute/computetest"
	"github.com/cmi-diffusion/cmi/sdk/prior"
	"github.com/cmi-diffusion/cmi/sdk/prior/unet"
)

// quantities of a network at a point, in the order in which they are checked.
var quantities = []struct {
	name  string
	bound float64
	of    func(p prior.Point, in map[string]compute.Tensor) (compute.Tensor, error)
}{
	{"y", 1e-5, func(p prior.Point, _ map[string]compute.Tensor) (compute.Tensor, error) { return p.Out(), nil }},
	{"vjp", 1e-5, func(p prior.Point, in map[string]compute.Tensor) (compute.Tensor, error) { return p.VJP(in["u"]) }},
	{"jvp", 1e-5, func(p prior.Point, in map[string]compute.Tensor) (compute.Tensor, error) { return p.JVP(in["v"]) }},
	{"d2_vv", 1e-4, func(p prior.Point, in map[string]compute.Tensor) (compute.Tensor, error) {
		return p.Second(in["v"], in["v"])
	}},
	{"d2_vw", 1e-4, func(p prior.Point, in map[string]compute.Tensor) (compute.Tensor, error) {
		return p.Second(in["v"], in["w"])
	}},
}

// networkCases checks unet/CASE: the network's value and derivatives.
func networkCases(dir fs.FS, o Options) ([]computetest.Case, error) {
	var bounds []bound
	for _, q := range quantities {
		bounds = append(bounds, bound{q.name, q.bound})
	}
	return folderCases(dir, o, "unet", "unet", bounds, func(path string, io *vectors, k int, dev compute.Device) (float64, error) {
		m, err := loadNetwork(dir, path, dev)
		if err != nil {
			return 0, err
		}
		defer m.Close()
		ws := compute.NewWorkspace(dev)
		defer ws.Free()
		in, steps, err := io.inputs(ws)
		if err != nil {
			return 0, err
		}
		p, err := m.At(in["x"], steps)
		if err != nil {
			return 0, err
		}
		got, err := quantities[k].of(p, in)
		if err != nil {
			return 0, err
		}
		return io.compare(dev, got, quantities[k].name)
	})
}

// bound is the largest relative error of a named tensor.
type bound struct {
	name string
	most float64
}

// folderCases returns a case for each of the tensors that FOLDER/CASE/io.safetensors holds. judge
// returns the error of tensor number k on a device.
func folderCases(dir fs.FS, o Options, folder, group string, tensors []bound, judge func(path string, io *vectors, k int, dev compute.Device) (float64, error)) ([]computetest.Case, error) {
	var cases []computetest.Case
	for i, name := range folders(dir, folder) {
		if o.Quick && i > 0 {
			break
		}
		path := folder + "/" + name
		io, ok, err := open(dir, path+"/io.safetensors")
		if err != nil {
			return nil, err
		}
		if !ok {
			cases = append(cases, unjudged(group, name, path+"/io.safetensors is missing"))
			continue
		}
		before := len(cases)
		var wanted []string
		for k, t := range tensors {
			wanted = append(wanted, t.name)
			if io.has(t.name) {
				cases = append(cases, check(group, name+" "+t.name, t.most, func(_ context.Context, dev compute.Device) (float64, error) {
					return judge(path, io, k, dev)
				}))
			}
		}
		if len(cases) == before {
			cases = append(cases, unjudged(group, name, path+"/io.safetensors holds none of "+strings.Join(wanted, ", ")))
		}
	}
	return cases, nil
}

// inputs returns the tensors x, u, v and w, those that are there, and the timestep of each image.
func (v *vectors) inputs(ws *compute.Workspace) (in map[string]compute.Tensor, steps []int, err error) {
	in = map[string]compute.Tensor{}
	for _, name := range []string{"x", "u", "v", "w"} {
		if v.has(name) {
			if in[name], err = v.load(ws, name); err != nil {
				return nil, nil, err
			}
		}
	}
	t, err := v.Ints("t", in["x"].N)
	return in, ints(t), err
}

func ints(v []int64) []int {
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}

// loadNetwork loads config.json and the model file beside it, whatever its format.
func loadNetwork(dir fs.FS, path string, dev compute.Device) (*unet.Model, error) {
	override, err := fs.ReadFile(dir, path+"/config.json")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(dir, path+"/model.*")
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("%s: %d files model.*, one is wanted", path, len(files))
	}
	file, err := openCheckpoint(dir, files[0])
	if err != nil {
		return nil, err
	}
	return unet.Load(dev, file, override)
}

// fullCases checks full/: the released networks' sizes, with weights by formula.
func fullCases(dir fs.FS, o Options) ([]computetest.Case, error) {
	var cases []computetest.Case
	for _, name := range []string{"ffhq", "imagenet"} {
		want, ok, err := open(dir, "full/"+name+".safetensors")
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if !o.Full {
			cases = append(cases, check("full", name, 0, func(context.Context, compute.Device) (float64, error) {
				return 0, computetest.Skip("only with --full: it takes gigabytes of memory and minutes")
			}))
			continue
		}
		// One load and one point serve all quantities of a network.
		var at *fullPoint
		var present []int
		for i, q := range quantities {
			if want.has(q.name + "_every8") {
				present = append(present, i)
			}
		}
		for n, i := range present {
			q := quantities[i]
			bound := 1e-4
			if q.name == "d2_vv" {
				bound = 1e-3
			}
			cases = append(cases, check("full", name+" "+q.name, bound, func(ctx context.Context, dev compute.Device) (e float64, err error) {
				if at == nil {
					if at, err = loadFull(dir, name, dev); err != nil {
						return 0, err
					}
				}
				if n == len(present)-1 {
					defer func() { at.close(); at = nil }()
				}
				got, err := q.of(at.Point, at.in)
				if err != nil {
					return 0, err
				}
				host, err := compute.ToHost(dev, got)
				if err != nil {
					return 0, err
				}
				sparse, stats := summarise(host, got)
				e, err = want.error(sparse, q.name+"_every8")
				if err != nil {
					return 0, err
				}
				also, err := want.error(stats, q.name+"_stats")
				return max(e, also), err
			}))
		}
	}
	return cases, nil
}

type fullPoint struct {
	prior.Point
	in    map[string]compute.Tensor
	close func()
}

// fullNetwork reads the shapes and the configuration of a network whose weights are a formula's.
func fullNetwork(dir fs.FS, name string) (weights checkpoint.Formula, override []byte, err error) {
	text, err := fs.ReadFile(dir, "full/"+name+".tensors.json")
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(text, &weights); err != nil {
		return nil, nil, fmt.Errorf("full/%s.tensors.json: %w", name, err)
	}
	override, err = fs.ReadFile(dir, "full/"+name+".json")
	return weights, override, err
}

func loadFull(dir fs.FS, name string, dev compute.Device) (*fullPoint, error) {
	weights, override, err := fullNetwork(dir, name)
	if err != nil {
		return nil, err
	}
	m, err := unet.Load(dev, weights, override)
	if err != nil {
		return nil, err
	}
	ws := compute.NewWorkspace(dev)
	c, h, w := m.Image()
	p := &fullPoint{in: map[string]compute.Tensor{}, close: func() { m.Close(); ws.Free() }}
	for name, channels := range map[string]int{"x": c, "v": c, "u": m.Config().OutChannels} {
		p.in[name] = ws.FromHost(checkpoint.FormulaValues(name, channels*h*w, 3), 1, channels, h, w)
	}
	if err = ws.Err(); err == nil {
		p.Point, err = m.At(p.in["x"], []int{500})
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// summarise returns every eighth pixel, and each channel's mean and (sample) standard deviation.
func summarise(v []float32, t compute.Tensor) (sparse, stats []float32) {
	var means, deviations []float32
	for c := range t.C {
		plane := v[c*t.H*t.W : (c+1)*t.H*t.W]
		var sum, square float64
		for _, x := range plane {
			sum += float64(x)
		}
		mean := sum / float64(len(plane))
		for _, x := range plane {
			square += (float64(x) - mean) * (float64(x) - mean)
		}
		means = append(means, float32(mean))
		deviations = append(deviations, float32(math.Sqrt(square/float64(len(plane)-1))))
		for y := 0; y < t.H; y += 8 {
			for x := 0; x < t.W; x += 8 {
				sparse = append(sparse, plane[y*t.W+x])
			}
		}
	}
	return sparse, append(means, deviations...)
}
