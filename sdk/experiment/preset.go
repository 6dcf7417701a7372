package experiment

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

// Preset is a published experiment, or one that runs without any download.
type Preset struct {
	Name, Title string
	// Embedded names the prior that is built in; empty: the user has to bring the checkpoint
	// Prior.
	Embedded, Prior string
	// Pictures says that pictures are built in, too; else the user has to bring them.
	Pictures bool

	Side   int     // of the pictures, in pixels
	Steps  int     // reverse steps
	SigmaY float64 // standard deviation of the measurement noise, images on [−1, 1]
	Images int     // pictures in the published experiment
	// Paper is what arXiv 2501.02880, Table I, reports; nil where it has no such rows.
	Paper map[Cell]PaperRow

	shapes, config []byte
}

// PaperRow is an entry of the paper's Table I.
type PaperRow struct{ FID, LPIPS, SSIM float64 }

// The grid of the paper's Table I. Task sizes follow the picture's: at 256 pixels
// the box is 128×128, the blurs 61×61 with standard deviation 5 and intensity 0.5;
// at 64 pixels 32×32, 15×15, 1.25 and 0.5.
var (
	Tasks   = []string{"inpaint", "box", "blur", "motion", "sr4"}
	Methods = []string{"dps", "pigdm", "mcg", "dsg"}
)

// Presets in the order in which they are named to users.
var Presets = []Preset{
	{Name: "faces64", Title: "64×64 faces, embedded prior", Embedded: "faces64", Pictures: true, Side: 64, Steps: 100, SigmaY: 0.05, Images: 8},
	{Name: "photos64", Title: "64×64 photographs, embedded prior", Embedded: "photos64", Side: 64, Steps: 100, SigmaY: 0.05, Images: 64},
	{Name: "paper-ffhq", Title: "FFHQ 256×256, as in arXiv 2501.02880", Prior: "ffhq_10m.pt", Side: 256, Steps: 1000, SigmaY: 0.05,
		Images: 1000, Paper: paperRows(paperFFHQ), shapes: ffhqShapes, config: ffhqConfig},
	{Name: "paper-imagenet", Title: "ImageNet 256×256, as in arXiv 2501.02880", Prior: "256x256_diffusion_uncond.pt", Side: 256, Steps: 1000, SigmaY: 0.05,
		Images: 1000, Paper: paperRows(paperImageNet), shapes: imagenetShapes, config: imagenetConfig},
}

// PresetNames returns the presets' names in order.
func PresetNames() []string {
	names := make([]string, len(Presets))
	for i, p := range Presets {
		names[i] = p.Name
	}
	return names
}

// FindPreset finds a preset by its name.
func FindPreset(name string) (Preset, error) {
	for _, p := range Presets {
		if p.Name == name {
			return p, nil
		}
	}
	return Preset{}, fmt.Errorf("unknown preset %q: known are %s", name, strings.Join(PresetNames(), ", "))
}

// Formula returns a stand-in for the preset's network: its shapes, with values by
// formula, and the configuration that shapes can't tell. It takes as long as the
// real one and restores nothing. Presets with an embedded network have none.
func (p Preset) Formula() (weights checkpoint.Formula, config []byte, err error) {
	if p.shapes == nil {
		return nil, nil, fmt.Errorf("the preset %s has its network embedded", p.Name)
	}
	err = json.Unmarshal(p.shapes, &weights)
	return weights, p.config, err
}

// The shapes of the published networks' tensors, and their configurations.
var (
	//go:embed shapes/ffhq.tensors.json
	ffhqShapes []byte
	//go:embed shapes/ffhq.json
	ffhqConfig []byte
	//go:embed shapes/imagenet.tensors.json
	imagenetShapes []byte
	//go:embed shapes/imagenet.json
	imagenetConfig []byte
)

// paperRows reads a half of the paper's Table I: for each arm, the FID, LPIPS and
// SSIM of every task in the order of [Tasks]; – is an entry that it does not have.
func paperRows(table string) map[Cell]PaperRow {
	rows := map[Cell]PaperRow{}
	for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
		arm, entries, _ := strings.Cut(line, " ")
		method, term := arm, Without
		if base, with := strings.CutSuffix(arm, "+cmi"); with {
			method, term = base, With
		}
		for i, entry := range strings.Split(entries, "|") {
			fields := strings.Fields(entry)
			if len(fields) != 3 {
				continue
			}
			var v [3]float64
			for k := range v {
				v[k], _ = strconv.ParseFloat(fields[k], 64) // the table is below, and tested
			}
			rows[Cell{Tasks[i], method, term}] = PaperRow{v[0], v[1], v[2]}
		}
	}
	return rows
}

const paperFFHQ = `
dps       21.19 .212 .851 | 33.12 .168 .873 | 44.05 .257 .811 | 39.92 .242 .859 | 39.35 .214 .852
dps+cmi   20.46 .207 .866 | 31.52 .154 .875 | 42.81 .241 .827 | 36.51 .232 .877 | 35.24 .209 .854
pigdm     21.27 .221 .840 | 34.79 .179 .860 | 40.21 .242 .825 | 33.24 .221 .887 | 34.98 .202 .854
pigdm+cmi 20.55 .215 .869 | 32.59 .148 .871 | 37.73 .240 .832 | 31.20 .217 .897 | 32.74 .200 .857
mcg       29.26 .286 .751 | 40.11 .309 .703 | 101.2 .340 .051 | – | 87.64 .520 .559
mcg+cmi   26.35 .267 .782 | 36.54 .251 .727 | 85.18 .325 .089 | – | 74.13 .431 .618
dsg       20.15 .207 .885 | 26.35 .135 .862 | 31.89 .240 .832 | 27.60 .217 .920 | 28.52 .201 .890
dsg+cmi   20.03 .201 .890 | 26.02 .127 .860 | 31.55 .231 .838 | 27.41 .208 .925 | 28.11 .191 .892
`

const paperImageNet = `
dps       35.87 .303 .739 | 38.82 .262 .794 | 62.72 .444 .706 | 56.08 .389 .634 | 50.66 .337 .781
dps+cmi   35.27 .280 .755 | 37.21 .244 .796 | 60.72 .432 .708 | 55.36 .368 .640 | 50.05 .330 .780
pigdm     41.82 .356 .705 | 42.26 .284 .752 | 59.79 .425 .717 | 54.18 .373 .675 | 54.26 .352 .765
pigdm+cmi 38.41 .334 .721 | 40.90 .277 .772 | 59.55 .410 .719 | 53.85 .366 .673 | 52.22 .350 .782
mcg       39.19 .414 .546 | 39.74 .330 .633 | 95.04 .550 .441 | – | 144.5 .637 .227
mcg+cmi   37.18 .379 .587 | 38.24 .310 .685 | 83.26 .504 .492 | – | 124.2 .606 .341
dsg       32.41 .218 .753 | 33.27 .251 .811 | 56.44 .392 .720 | 52.01 .348 .643 | 47.40 .318 .785
dsg+cmi   32.24 .202 .757 | 33.11 .239 .813 | 56.08 .381 .728 | 52.00 .331 .669 | 47.08 .302 .801
`
