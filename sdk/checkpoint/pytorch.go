package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// What torch adds to a pickle's values: DType stands for a storage class, storage
// for an array of values outside the pickle, view for a tensor over one.
type (
	storage struct {
		dtype DType
		key   string
		count int64 // of values, as the pickle claims
		at    int64 // byte offset of a storage in a run of bytes, which is known at once; else 0
	}
	view struct {
		storage
		offset  int64 // of the first value in the storage
		shape   []int
		strides []int
	}
	// constructor makes a value of a pickled call's arguments.
	constructor func(args tuple) (any, error)
)

// globals is all that a pickle may name.
var globals = map[string]any{
	"collections.OrderedDict":                             constructor(orderedDict),
	"dnnlib.util.EasyDict":                                class(func() any { return newDict() }),
	"numpy.dtype":                                         constructor(numpyType),
	"torch.nn.modules.container.ModuleDict":               newClass("ModuleDict"),
	"torch.nn.modules.container.ModuleList":               newClass("ModuleList"),
	"torch.nn.modules.container.Sequential":               newClass("Sequential"),
	"torch_utils.persistence._reconstruct_persistent_obj": constructor(reconstruct),
	"torch._utils._rebuild_tensor_v2":                     constructor(rebuildTensor),
	"torch._utils._rebuild_parameter":                     constructor(rebuildParameter),
	"torch.DoubleStorage":                                 F64,
	"torch.FloatStorage":                                  F32,
	"torch.HalfStorage":                                   F16,
	"torch.BFloat16Storage":                               BF16,
	"torch.LongStorage":                                   I64,
	"torch.IntStorage":                                    I32,
	"torch.ShortStorage":                                  I16,
	"torch.CharStorage":                                   I8,
	"torch.ByteStorage":                                   U8,
	"torch.BoolStorage":                                   BOOL,
}

// global pushes what a name stands for.
func (m *machine) global(module, name string) {
	v, ok := globals[module+"."+name]
	switch module + "." + name {
	case "torch.storage._load_from_bytes":
		v, ok = constructor(m.loadStorage), true
	case "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar":
		v, ok = constructor(m.numpyScalar), true
	}
	if !ok {
		m.fail("refused the global %q: a state dict holds tensors and dicts alone; save it again with torch.save(model.state_dict(), path) or as safetensors", module+"."+name)
	}
	m.push(v)
}

// reduce replaces a constructor and its arguments by what they make.
func (m *machine) reduce() {
	call := m.pops(2)
	construct, ok := call[0].(constructor)
	args, ok2 := call[1].(tuple)
	if !ok || !ok2 {
		m.fail("call of what is not a function")
		return
	}
	m.charge(costDict) // of an OrderedDict, with the pairs of a list
	if len(args) > 0 {
		m.charge(costTensor)
		if pairs, ok := args[0].(*list); ok {
			m.charge(costEntry * len(pairs.items))
		}
	}
	if m.err != nil {
		return
	}
	v, err := construct(args)
	if err != nil {
		m.fail("%w", err)
	}
	m.push(v)
}

// persistent pushes the storage of a persistent identifier
// ("storage", class, key, device, number of values[, nil]).
func (m *machine) persistent(id any) {
	t, _ := id.(tuple)
	if len(t) == 6 && t[5] == nil {
		t = t[:5]
	}
	if len(t) != 5 || t[0] != "storage" {
		m.fail("persistent identifier that is not a storage")
		return
	}
	dtype, ok := t[1].(DType)
	key, ok2 := t[2].(string)
	count, ok3 := t[4].(int64)
	if !ok || !ok2 || !ok3 || count < 0 || count > math.MaxInt64/8 {
		m.fail("storage %q without a class, key or sensible count", key)
	}
	s := storage{dtype: dtype, key: key, count: count}
	if first, again := m.in.storages[key]; again && first != s {
		m.fail("storage %q is %d values of %s in one place, %d of %s in another", key, first.count, first.dtype, count, dtype)
	}
	m.charge(costDict)
	m.in.storages[key] = s
	m.push(s)
}

// orderedDict has no arguments, its items follow; Python 2 gives it the list of
// pairs [key, value].
func orderedDict(args tuple) (any, error) {
	d := newDict()
	if len(args) == 0 {
		return d, nil
	}
	pairs, ok := args[0].(*list)
	if !ok || len(args) > 1 {
		return nil, fmt.Errorf("OrderedDict of %d arguments, wanted none or a list of pairs", len(args))
	}
	for _, item := range pairs.items {
		pair, ok := item.(*list)
		if !ok || len(pair.items) != 2 {
			return nil, errors.New("OrderedDict of a list that does not hold pairs")
		}
		if err := d.set(pair.items[0], pair.items[1]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func rebuildParameter(args tuple) (any, error) {
	if len(args) == 3 {
		if v, ok := args[0].(view); ok {
			return v, nil
		}
	}
	return nil, errors.New("_rebuild_parameter without a tensor, a flag and hooks")
}

// rebuildTensor takes storage, offset, shape, strides, requires_grad, hooks and
// possibly metadata. The view must lie in the storage and be no larger than it, so
// that a tensor's memory is bounded by the file.
func rebuildTensor(args tuple) (any, error) {
	if len(args) != 6 && len(args) != 7 {
		return nil, fmt.Errorf("_rebuild_tensor_v2 of %d arguments, wanted 6 or 7", len(args))
	}
	s, ok := args[0].(storage)
	offset, ok2 := args[1].(int64)
	shape, ok3 := counts(args[2])
	strides, ok4 := counts(args[3])
	if !ok || !ok2 || !ok3 || !ok4 || len(shape) != len(strides) {
		return nil, errors.New("_rebuild_tensor_v2 without a storage, an offset, and a shape and strides of equal length (at most 16) with entries ≥ 0")
	}
	v := view{s, offset, shape, strides}
	if !v.inside() {
		return nil, fmt.Errorf("tensor of shape %v, strides %v and offset %d leaves its storage of %d values or is larger", shape, strides, offset, s.count)
	}
	return v, nil
}

// counts converts a tuple of at most 16 integers ≥ 0.
func counts(v any) ([]int, bool) {
	t, ok := v.(tuple)
	if !ok || len(t) > 16 {
		return nil, false
	}
	out := make([]int, len(t))
	for i, item := range t {
		n, ok := item.(int64)
		if !ok || n < 0 || n > math.MaxInt {
			return nil, false
		}
		out[i] = int(n)
	}
	return out, true
}

// inside checks a view against its storage's claimed count.
func (v view) inside() bool {
	limit := min(v.count, math.MaxInt)
	if v.offset < 0 || v.offset > limit {
		return false
	}
	if slices.Contains(v.shape, 0) {
		return true
	}
	n, last := int64(1), v.offset // last: offset of the last value
	for i, d := range v.shape {
		if int64(d) > limit/n {
			return false
		}
		n *= int64(d)
		if step := int64(v.strides[i]); d > 1 && step > 0 {
			if int64(d-1) > (limit-last)/step {
				return false
			}
			last += int64(d-1) * step
		}
	}
	return last < limit
}

// dense says whether the values lie in row-major order without gaps.
func (v view) dense() bool {
	step := 1
	for i, d := range slices.Backward(v.shape) {
		if d != 1 && v.strides[i] != step {
			return slices.Contains(v.shape, 0)
		}
		step *= d
	}
	return true
}

// addState enters the tensors of the state dict that [choose] takes. locate returns the
// byte offset of a storage, after checking that all of it is there.
func (f *File) addState(root any, locate func(storage) (int64, error)) error {
	outer, ok := root.(*dict)
	if !ok {
		return errors.New("the file holds no state dict but another object; save it with torch.save(model.state_dict(), path)")
	}
	groups := weightGroups(outer)
	for _, g := range groups {
		if g.rank() < other {
			f.keys = append(f.keys, g.key)
		}
	}
	best, err := choose(groups, f.wanted)
	if err != nil {
		return err
	}
	if best.d == nil {
		return fmt.Errorf("no tensors in the outermost dict, nor under %s, nor under a name with \"ema\"; found the keys %.40q; --prior-key chooses another", strings.Join(stateKeys, ", "), outer.keys[:min(8, len(outer.keys))])
	}
	f.key = best.key
	for _, name := range best.d.keys {
		v, ok := best.d.values[name].(view)
		if !ok {
			continue
		}
		at, err := locate(v.storage)
		if err == nil {
			err = f.add(v.entry(name, at))
		}
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return nil
}

// tensors counts the tensors directly in a dict.
func (d *dict) tensors() int {
	n := 0
	for _, v := range d.values {
		if _, ok := v.(view); ok {
			n++
		}
	}
	return n
}

// entry places a view whose storage starts at byte at.
func (v view) entry(name string, at int64) entry {
	e := entry{
		Tensor: Tensor{Name: name, DType: v.dtype, Shape: v.shape},
		at:     at + v.offset*itemSize[v.dtype],
	}
	if !v.dense() {
		e.strides, e.span = v.strides, 1
		for i, d := range v.shape {
			e.span += (d - 1) * v.strides[i]
		}
	}
	return e
}
