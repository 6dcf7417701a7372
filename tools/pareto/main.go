// Command pareto measures which method is best for its network passes: each method with as many steps as a
// budget of passes allows, on five tasks and two hard ones, two samples of each measurement. It runs
// `cmi-native eval`, a folder for each method and budget, and goes on where it was stopped; then it writes the
// tables of docs/pareto.md and a plot.
//
//	go run ./tools/pareto -out out/pareto -- --limit 6 --images testdata/faces
//
// What stands after -- are flags of eval.
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// contender is a method with the flags that it competes with.
type contender struct {
	name  string
	steps func(passes int) int // that so many passes allow
	flags []string
}

// per returns the steps of a method that takes so many passes for each.
func per(passes float64) func(int) int {
	return func(budget int) int { return int(float64(budget)/passes + 0.5) }
}

// The contenders. The passes of a step of the pathwise methods and of mmps are means: where ᾱ is small they
// take fewer.
var contenders = []contender{
	{"dps", per(2), nil},
	{"pigdm", per(2), nil},
	{"mmps", per(4), nil},
	{"diffpir", per(1), nil},
	{"diffpir from 400", per(1), []string{"--start", "400"}},
	{"ddrm-mean", per(1), nil},
	{"gibbs", per(2.9), nil},
	{"pathwise", per(3.8), nil},
	{"pathwise-mean", per(2.58), nil},
}

// suite is a list of tasks at a noise level.
type suite struct{ name, tasks, sigmaY string }

var suites = []suite{{"five", "inpaint,box,blur,motion,sr4", "0.05"}, {"sr8", "sr8", "0.05"}, {"noisy box", "box", "0.2"}}

// score is what a cell of eval's table says.
type score struct {
	task                                string // with its noise level where that is not 0.05
	contender                           string
	budget                              int
	psnr, ssim, lpips, passes, mse, eye float64 // the last two are the ratios of exchangeability
}

func main() {
	out := flag.String("out", "out/pareto", "folder for the runs, the tables and the plot")
	tool := flag.String("tool", "bin/cmi-native", "the tool")
	budgets := flag.String("passes", "25,50,100", "budgets of network passes")
	only := flag.String("methods", "", "the contenders to run and to show; empty for all")
	tables := flag.Bool("tables", false, "run nothing: make the tables of what is finished")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *tool, *out, *budgets, *only, *tables, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pareto:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, tool, out, budgets, only string, tables bool, flags []string) error {
	var passes []int
	for _, text := range strings.Split(budgets, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-passes has %q, a positive number is wanted", text)
		}
		passes = append(passes, n)
	}
	chosen := contenders
	if only != "" {
		chosen = nil
		for _, name := range strings.Split(only, ",") {
			i := slices.IndexFunc(contenders, func(c contender) bool { return c.name == name })
			if i < 0 {
				return fmt.Errorf("-methods has %q, which is no contender", name)
			}
			chosen = append(chosen, contenders[i])
		}
	}
	var scores []score
	for _, budget := range passes {
		for _, c := range chosen {
			for _, s := range suites {
				folder := filepath.Join(out, strings.ReplaceAll(fmt.Sprintf("%s %d %s", c.name, budget, s.name), " ", "-"))
				if !tables {
					if err := eval(ctx, tool, folder, c, budget, s, flags); err != nil {
						return fmt.Errorf("%s: %w", folder, err)
					}
				}
				more, err := read(folder, c, budget, s)
				if tables && errors.Is(err, os.ErrNotExist) {
					continue // not yet run
				}
				if err != nil {
					return err
				}
				scores = append(scores, more...)
			}
		}
	}
	if len(scores) == 0 {
		return fmt.Errorf("%s has no finished run", out)
	}
	if err := os.WriteFile(filepath.Join(out, "pareto.md"), []byte(markdown(scores)), 0o644); err != nil {
		return err
	}
	return draw(filepath.Join(out, "pareto.png"), scores)
}

// eval runs the tool for one method and budget.
func eval(ctx context.Context, tool, folder string, c contender, budget int, s suite, flags []string) error {
	method, _, _ := strings.Cut(c.name, " ")
	args := []string{"eval", "--quiet", "--cmi", "off", "--samples", "2", "--methods", method, "--tasks", s.tasks, "--sigma-y", s.sigmaY,
		"--steps", strconv.Itoa(max(c.steps(budget), 2)), "--out", folder}
	work := exec.CommandContext(ctx, tool, append(append(args, c.flags...), flags...)...)
	work.Stderr = os.Stderr
	work.Cancel = func() error { return work.Process.Signal(os.Interrupt) } // eval keeps what is finished
	return work.Run()
}

// read returns the scores of a folder of eval.
func read(folder string, c contender, budget int, s suite) ([]score, error) {
	file, err := os.Open(filepath.Join(folder, "table.csv"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	var scores []score
	for _, row := range rows[1:] {
		one := score{contender: c.name, budget: budget}
		for i, column := range rows[0] {
			if number := map[string]*float64{"psnr": &one.psnr, "ssim": &one.ssim, "lpips": &one.lpips, "passes": &one.passes,
				"exchangeability_mse": &one.mse, "exchangeability_lpips": &one.eye}[column]; number != nil {
				if *number, err = strconv.ParseFloat(row[i], 64); err != nil {
					return nil, fmt.Errorf("%s: column %s: %w", file.Name(), column, err)
				}
			}
			if column == "task" {
				one.task = row[i]
			}
		}
		if s.sigmaY != "0.05" {
			one.task += ", σ_y = " + s.sigmaY
		}
		scores = append(scores, one)
	}
	return scores, nil
}

// tasks returns the scores' tasks in order.
func tasks(scores []score) (names []string) {
	for _, s := range scores {
		if !slices.Contains(names, s.task) {
			names = append(names, s.task)
		}
	}
	return names
}

// best says whether nothing else of the same task and with no more budget is better by a measure.
func best(scores []score, s score, measure func(score) float64) bool {
	return !slices.ContainsFunc(scores, func(o score) bool {
		return o.task == s.task && o.budget <= s.budget && measure(o) < measure(s)
	})
}

func byPSNR(s score) float64  { return -s.psnr }
func byLPIPS(s score) float64 { return s.lpips }

// calibration is how far the two ratios of exchangeability are from 1.
func calibration(s score) float64 { return max(s.mse-1, 1-s.mse) + max(s.eye-1, 1-s.eye) }

// markdown writes a table for each task and one of how often each is the best.
func markdown(scores []score) string {
	var out strings.Builder
	strong := func(yes bool, text string) string {
		if yes {
			return "**" + text + "**"
		}
		return text
	}
	budgets := map[int]bool{}
	for _, s := range scores {
		budgets[s.budget] = true
	}
	wins := map[string]map[int][3]int{}
	for _, task := range tasks(scores) {
		fmt.Fprintf(&out, "\n### %s\n\n| method | passes | PSNR | SSIM | LPIPS-like | exchangeability: squared error; LPIPS-like |\n|---|---:|---:|---:|---:|---:|\n", task)
		for _, s := range scores {
			if s.task != task {
				continue
			}
			psnr, lpips, calibrated := best(scores, s, byPSNR), best(scores, s, byLPIPS), best(scores, s, calibration)
			if wins[s.contender] == nil {
				wins[s.contender] = map[int][3]int{}
			}
			won := wins[s.contender][s.budget]
			for i, yes := range []bool{psnr, lpips, calibrated} {
				if yes {
					won[i]++
				}
			}
			wins[s.contender][s.budget] = won
			fmt.Fprintf(&out, "| `%s` | %.0f | %s | %.3f | %s | %s |\n", s.contender, s.passes, strong(psnr, fmt.Sprintf("%.2f", s.psnr)), s.ssim,
				strong(lpips, fmt.Sprintf("%.3f", s.lpips)), strong(calibrated, fmt.Sprintf("%.2f; %.2f", s.mse, s.eye)))
		}
	}
	out.WriteString("\n### Tasks where nothing with as many passes or fewer is better: PSNR, LPIPS-like, exchangeability\n\n| method |")
	for _, b := range slices.Sorted(maps.Keys(budgets)) {
		fmt.Fprintf(&out, " %d passes |", b)
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(budgets)) + "\n")
	for _, c := range contenders {
		if wins[c.name] == nil {
			continue
		}
		fmt.Fprintf(&out, "| `%s` |", c.name)
		for _, b := range slices.Sorted(maps.Keys(budgets)) {
			if w, ok := wins[c.name][b]; ok {
				fmt.Fprintf(&out, " %d, %d, %d |", w[0], w[1], w[2])
			} else {
				out.WriteString(" – |")
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}
