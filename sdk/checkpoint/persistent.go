package checkpoint

import (
	"errors"
	"fmt"
	"math"
)

// A persistent pickle is what torch_utils.persistence of StyleGAN and EDM writes: whole
// modules, each with the name of its class, its attributes, and the source of its program as
// text. Here the objects are data: their tensors under the names that a state dict would give
// them, and their plain attributes. The source is skipped.

// Module is an object of a persistent pickle.
type Module struct {
	Name       string // of the tensors below it, such as "model.enc.16x16_conv"; empty for the outermost
	Class      string
	Attributes map[string]any // those that are bool, int64, float64, string or nil
}

// Modules lists the objects of the weights that were taken, the outer ones first and each
// one's parts in the order in which they are applied; nil for files of other formats.
func (f *File) Modules() []Module { return f.modules }

type (
	// object is an instance of a class: a persistent one, or a container of PyTorch.
	object struct {
		class string
		state *dict
	}
	// blob is a run of bytes, which stays in the file.
	blob struct{ at, n int64 }
	// class makes an empty value of opcode NEWOBJ.
	class func() any
	// numberType is a NumPy type, by its name: "f8".
	numberType string
)

func newClass(name string) class { return func() any { return &object{class: name, state: newDict()} } }

// reconstruct takes the description of a persistent object.
func reconstruct(args tuple) (any, error) {
	if len(args) == 1 {
		if meta, ok := args[0].(*dict); ok {
			name, ok := meta.values["class_name"].(string)
			state, ok2 := meta.values["state"].(*dict)
			if ok && ok2 && len(name) <= maxName {
				return &object{name, state}, nil
			}
		}
	}
	return nil, errors.New("_reconstruct_persistent_obj without a class_name and a state")
}

// Limits of persistent pickles. The released ones have 1100 objects, 6 levels deep.
const (
	maxModules = 1 << 14
	maxDepth   = 32
	maxName    = 256 // bytes
)

// numpyType is numpy.dtype("f8", …).
func numpyType(args tuple) (any, error) {
	if len(args) > 0 {
		if name, ok := args[0].(string); ok {
			return numberType(name), nil
		}
	}
	return nil, errors.New("numpy.dtype without a name")
}

// numpyScalar is a number of a NumPy type, little-endian; of others nothing is known.
func (m *machine) numpyScalar(args tuple) (any, error) {
	if len(args) != 2 {
		return nil, errors.New("numpy scalar without a type and a value")
	}
	t, _ := args[0].(numberType)
	b, ok := args[1].(blob)
	if !ok || b.n > 8 {
		return nil, nil
	}
	var p [8]byte
	if _, err := m.in.r.ReadAt(p[:b.n], b.at); err != nil {
		return nil, err
	}
	switch {
	case t == "f8" && b.n == 8:
		return math.Float64frombits(le.Uint64(p[:])), nil
	case t == "f4" && b.n == 4:
		return float64(math.Float32frombits(le.Uint32(p[:]))), nil
	case t == "i8" && b.n == 8:
		return int64(le.Uint64(p[:])), nil
	}
	return nil, nil
}

// loadStorage is torch.storage._load_from_bytes: the bytes are a whole legacy file that holds
// one storage.
func (m *machine) loadStorage(args tuple) (any, error) {
	var b blob
	if len(args) == 1 {
		b, _ = args[0].(blob)
	}
	if m.nested || b.n == 0 {
		return nil, errors.New("_load_from_bytes without bytes")
	}
	in := newSource(m.in.r, b.at, b.n)
	parts, err := legacyParts(in, true)
	if err != nil {
		return nil, err
	}
	s, ok := parts[3].(storage)
	keys, ok2 := parts[4].(*list)
	if !ok || !ok2 {
		return nil, errors.New("_load_from_bytes of what is not a storage")
	}
	offsets, err := legacyStorages(in, keys.items)
	if err != nil {
		return nil, err
	}
	s.at = offsets[s.key]
	return s, nil
}

// bytesObject pushes a run of n bytes, which it skips.
func (m *machine) bytesObject(n uint64) {
	if m.err != nil {
		return
	}
	if n > uint64(m.in.end-m.in.pos) {
		m.fail("%d bytes wanted, %d left: the file is cut off or damaged", n, m.in.end-m.in.pos)
		return
	}
	b := blob{m.in.pos, int64(n)}
	if _, err := m.in.buf.Discard(int(n)); err != nil {
		m.err = noEOF(err)
		return
	}
	m.in.pos += b.n
	m.start += b.n // they are no work that may be repaid
	m.push(b)
}

// newObject makes an instance of a class without arguments.
func (m *machine) newObject() {
	call := m.pops(2)
	make, ok := call[0].(class)
	if args, _ := call[1].(tuple); !ok || len(args) > 0 {
		m.fail("an object of what is no known class, or with arguments")
		return
	}
	m.charge(costDict)
	m.push(make())
}

// flat returns the tensors of an object by the names of a state dict, and lists its modules.
func (o *object) flat() (*dict, []Module, error) {
	all, modules := newDict(), []Module(nil)
	var walk func(o *object, name string, depth int) error
	walk = func(o *object, name string, depth int) error {
		if depth > maxDepth || len(modules) == maxModules || len(name) > maxName {
			return fmt.Errorf("more than %d modules, or %d levels of them, or a name of more than %d bytes", maxModules, maxDepth, maxName)
		}
		m := Module{Name: name, Class: o.class, Attributes: map[string]any{}}
		for _, key := range o.state.keys {
			switch v := o.state.values[key].(type) {
			case bool, int64, float64, nil:
				m.Attributes[key] = v
			case string:
				if len(v) <= maxName {
					m.Attributes[key] = v
				}
			}
		}
		modules = append(modules, m)
		for _, kind := range []string{"_parameters", "_buffers"} {
			tensors, _ := o.state.values[kind].(*dict)
			for _, key := range tensors.names() {
				if v, ok := tensors.values[key].(view); ok {
					if err := all.set(joined(name, key), v); err != nil {
						return err
					}
				}
			}
		}
		parts, _ := o.state.values["_modules"].(*dict)
		for _, key := range parts.names() {
			if part, ok := parts.values[key].(*object); ok {
				if err := walk(part, joined(name, key), depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return all, modules, walk(o, "", 0)
}

// names returns a dict's keys, none of a missing one.
func (d *dict) names() []string {
	if d == nil {
		return nil
	}
	return d.keys
}

// parsePersistent enters the tensors of the object that [choose] takes of a persistent pickle.
func (f *File) parsePersistent(root *dict) error {
	f.format = Persistent
	outer, modules := newDict(), map[*dict][]Module{}
	for _, key := range root.keys {
		if o, ok := root.values[key].(*object); ok {
			d, list, err := o.flat()
			if err != nil {
				return fmt.Errorf("object %.60q: %w", key, err)
			}
			if err := outer.set(key, d); err != nil {
				return err
			}
			modules[d] = list
		}
	}
	if len(outer.keys) == 0 {
		return errNoStream
	}
	err := f.addState(outer, func(s storage) (int64, error) {
		if s.at == 0 {
			return 0, errors.New("its storage is not in the file")
		}
		return s.at, nil
	})
	if d, ok := outer.values[f.key].(*dict); ok {
		f.modules = modules[d]
	}
	return err
}
