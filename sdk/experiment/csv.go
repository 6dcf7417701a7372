package experiment

import (
	"encoding/csv"
	"math"
	"strconv"
	"strings"
)

// csv returns every number of the summary, and the paper's.
func (s *Summary) csv(p Preset) (string, error) {
	head := []string{"source", "task", "method", "cmi", "pictures"}
	triple := func(name string) []string { return []string{name, name + "_low", name + "_high"} }
	for _, m := range measures {
		head = append(head, triple(m.name)...)
	}
	head = append(head, "lpips_name", "frechet", "frechet_name")
	head = append(append(head, triple("exchangeability_mse")...), triple("exchangeability_lpips")...)
	head = append(head, "passes", "limited")
	for _, m := range measures {
		head = append(head, triple("difference_"+m.name)...)
	}
	head = append(head, "difference_frechet")

	rows := [][]string{head}
	number := func(v float64) string {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ""
		}
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	for _, c := range s.Cells {
		values := map[string]string{"source": "measured", "task": c.Task, "method": c.Method, "cmi": c.CMI.text(),
			"pictures": strconv.Itoa(c.Pictures), "lpips_name": s.LPIPSName, "frechet_name": s.Frechet, "passes": number(c.Passes)}
		set := func(name string, i Interval) {
			values[name], values[name+"_low"], values[name+"_high"] = number(i.Value), number(i.Low), number(i.High)
		}
		for m := range measures {
			set(measures[m].name, c.Mean[m])
			if c.Difference != nil {
				set("difference_"+measures[m].name, c.Difference[m])
			}
		}
		if c.Exchangeability != nil {
			set("exchangeability_mse", c.Exchangeability[0])
			set("exchangeability_lpips", c.Exchangeability[1])
		}
		if c.CMI != Without {
			values["limited"] = number(c.Limited)
		}
		if c.Frechet != nil {
			values["frechet"] = number(*c.Frechet)
			if base := s.cell(c.base()); c.CMI != Without && base != nil && base.Frechet != nil {
				values["difference_frechet"] = number(*c.Frechet - *base.Frechet)
			}
		}
		rows = append(rows, pick(head, values))
		if r, ok := p.Paper[c.published()]; ok {
			rows = append(rows, pick(head, map[string]string{"source": "arXiv 2501.02880", "task": c.Task, "method": c.Method, "cmi": c.CMI.text(),
				"ssim": number(r.SSIM), "lpips": number(r.LPIPS), "lpips_name": "LPIPS", "frechet": number(r.FID), "frechet_name": "FID"}))
		}
	}
	var out strings.Builder
	w := csv.NewWriter(&out)
	err := w.WriteAll(rows) // flushes
	return out.String(), err
}

func pick(names []string, values map[string]string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = values[name]
	}
	return out
}
