package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stateKeys are the names under which training scripts keep the weights of the last
// training step, as keys of a dict or as the first part of every tensor's name.
// "module" and "_orig_mod" come from DistributedDataParallel and torch.compile.
var stateKeys = []string{
	"state_dict", "model_state_dict", "model", "params", "net", "unet", "network",
	"diffusion_model", "online_model", "module", "_orig_mod",
}

// averaged says whether a key names averaged weights: "ema", "model_ema",
// "ema_0.9999", "shadow".
func averaged(key string) bool {
	words := strings.FieldsFunc(strings.ToLower(key), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return slices.ContainsFunc(words, func(w string) bool { return w == "ema" || w == "shadow" || w == "swa" || w == "averaged" })
}

// group is a set of tensors that may be the weights.
type group struct {
	key   string // path of the keys that lead to it, with points between them
	d     *dict  // nil where it is a prefix of names
	count int    // of tensors
}

// Ranks of groups: lower ones are taken first.
const (
	average = iota
	raw
	other
)

func (g group) rank() int {
	parts := strings.Split(g.key, ".")
	switch {
	case averaged(g.key):
		return average
	case g.key == "" || slices.Contains(stateKeys, parts[len(parts)-1]):
		return raw
	}
	return other
}

// choose returns the group with the wanted key, or whose key is the longest that the
// wanted one begins with. Without a wanted key it returns the best: averaged weights, where
// they are at least half as many tensors as any other set, before those of the last step.
// The zero group means that there is none.
func choose(groups []group, wanted string) (best group, err error) {
	if wanted != "" {
		found := false
		for _, g := range groups {
			if (g.key == "" || wanted == g.key || strings.HasPrefix(wanted, g.key+".")) && (!found || len(g.key) > len(best.key)) {
				best, found = g, true
			}
		}
		if !found {
			err = noKey(wanted, groups)
		}
		return best, err
	}
	most := 0
	for _, g := range groups {
		if g.rank() < other {
			most = max(most, g.count)
		}
	}
	for _, rank := range []int{average, raw} {
		for _, g := range groups {
			if g.rank() == rank && 2*g.count >= most && g.count > best.count {
				best = g
			}
		}
		if best.count > 0 {
			break
		}
	}
	return best, nil
}

func noKey(wanted string, groups []group) error {
	var keys []string
	for _, g := range groups {
		if g.key != "" {
			keys = append(keys, g.key)
		}
	}
	return fmt.Errorf("no weights under the key %.60q; found %.40q", wanted, keys[:min(8, len(keys))])
}

// weightGroups lists the dicts with tensors: the outermost and those at most three
// levels below it, the outer ones first.
func weightGroups(outer *dict) (all []group) {
	const maxDicts, maxKey = 1024, 64 // a pickle can hold one dict in many places
	level, visited := []group{{d: outer}}, 0
	for depth := 0; depth <= 3; depth++ {
		var below []group
		for _, g := range level {
			if visited++; visited > maxDicts {
				return all
			}
			if g.count = g.d.tensors(); g.count > 0 {
				all = append(all, g)
			}
			for _, key := range g.d.keys {
				d, ok := g.d.values[key].(*dict)
				if ok && len(key) <= maxKey && len(below) < maxDicts {
					below = append(below, group{key: joined(g.key, key), d: d})
				}
			}
		}
		level = below
	}
	return all
}

func joined(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// unwrap chooses between the sets of weights that the names' first parts tell apart,
// and leaves that part out of the names of the one that is taken.
func (f *File) unwrap() error {
	f.restorePoints()
	rest := f.wanted // the part of the wanted key that names a prefix
	if f.key != "" {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, f.key), ".")
	}
	for range 8 { // "module." in "model." in "state_dict." …
		counts := map[string]int{}
		for _, name := range f.names {
			if part, after, _ := strings.Cut(name, "."); after != "" {
				counts[part]++
			}
		}
		if rest != "" {
			part, after, _ := strings.Cut(rest, ".")
			if counts[part] == 0 {
				return fmt.Errorf("no weights under the key %.60q; found %.40q", f.wanted, f.keys[:min(8, len(f.keys))])
			}
			f.strip(part)
			rest = after
			continue
		}
		var groups []group
		for _, part := range slices.Sorted(maps.Keys(counts)) {
			if g := (group{key: part, count: counts[part]}); g.rank() < other {
				groups = append(groups, g)
			}
		}
		best, _ := choose(groups, "")
		// Other parts of a script's object may be beside the weights, but fewer.
		if best.count == 0 || best.rank() == raw && 2*best.count <= len(f.names) || counts["first_stage_model"] > 0 {
			break
		}
		if len(groups) > 1 {
			for _, g := range groups {
				f.keys = append(f.keys, joined(f.key, g.key))
			}
		}
		f.strip(best.key)
	}
	return nil
}

// restorePoints gives averaged weights whose names lost their points, as those of Latent
// Diffusion's LitEma ("model_ema.diffusion_modelout2weight"), the names of the raw weights in the
// same file ("model.diffusion_model.out.2.weight"). What more than one raw name fits stays as it is.
func (f *File) restorePoints() {
	without := func(name string) string { return strings.ReplaceAll(name, ".", "") }
	rawNames := map[string][]string{} // by the name without points
	for _, name := range f.names {
		if part, after, _ := strings.Cut(name, "."); slices.Contains(stateKeys, part) && strings.Contains(after, ".") {
			rawNames[without(after)] = append(rawNames[without(after)], after)
		}
	}
	for i, name := range f.names {
		part, after, _ := strings.Cut(name, ".")
		if !averaged(part) || strings.Contains(after, ".") || len(rawNames[after]) != 1 {
			continue
		}
		whole := joined(part, rawNames[after][0])
		if _, twice := f.tensors[whole]; twice {
			continue
		}
		e := f.tensors[name]
		delete(f.tensors, name)
		e.Name = whole
		f.names[i], f.tensors[whole] = whole, e
	}
}

// strip keeps the tensors whose names begin with part and a point, and leaves that out.
func (f *File) strip(part string) {
	tensors := map[string]entry{}
	var names []string
	for _, name := range f.names {
		short, ok := strings.CutPrefix(name, part+".")
		if !ok || short == "" {
			continue
		}
		e := f.tensors[name]
		e.Name = short
		names, tensors[short] = append(names, short), e
	}
	if len(names) == 0 {
		return
	}
	f.names, f.tensors, f.key = names, tensors, joined(f.key, part)
}
