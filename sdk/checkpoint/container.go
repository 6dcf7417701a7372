package checkpoint

import (
	"archive/zip"
	"errors"
	"fmt"
	"strings"
)

// parseZip reads torch.save's archive: TOP/data.pkl is the pickle, TOP/data/KEY the
// bytes of each storage, TOP/byteorder (newer writers) "little" or "big". Check sums
// are not looked at, as torch.load does not and torch.save can leave them out.
func (f *File) parseZip() error {
	archive, err := zip.NewReader(f.r, f.size)
	if err != nil {
		return fmt.Errorf("PyTorch zip, perhaps cut off: %w: download it again", err)
	}
	records := make(map[string]*zip.File, len(archive.File))
	top := ""
	for _, record := range archive.File {
		if _, twice := records[record.Name]; twice {
			return fmt.Errorf("PyTorch zip: entry %q occurs twice", record.Name)
		}
		records[record.Name] = record
		if dir, ok := strings.CutSuffix(record.Name, "/data.pkl"); ok && !strings.Contains(dir, "/") {
			top = dir
		}
	}
	if top == "" {
		return errors.New("zip archive without data.pkl: not a PyTorch checkpoint")
	}
	if order, there := records[top+"/byteorder"]; there {
		at, n, err := f.stored(order)
		text := make([]byte, min(n, 8))
		if err == nil {
			err = f.readAt(text, at)
		}
		if err != nil {
			return err
		}
		if string(text) != "little" {
			return fmt.Errorf("PyTorch zip of byte order %q, wanted little", text)
		}
	}
	at, n, err := f.stored(records[top+"/data.pkl"])
	if err != nil {
		return err
	}
	root, err := unpickle(newSource(f.r, at, n))
	if err != nil {
		return err
	}
	return f.addState(root, func(s storage) (int64, error) {
		record, ok := records[top+"/data/"+s.key]
		if !ok {
			return 0, fmt.Errorf("its storage %q is not in the archive", s.key)
		}
		at, n, err := f.stored(record)
		if err == nil && n != s.count*itemSize[s.dtype] {
			err = fmt.Errorf("its storage %q has %d bytes, wanted %d values of %s", s.key, n, s.count, s.dtype)
		}
		return at, err
	})
}

// stored returns the byte range of an archive's entry, which must not be compressed.
func (f *File) stored(record *zip.File) (at, n int64, err error) {
	if record.Method != zip.Store || record.Flags&1 != 0 || record.CompressedSize64 != record.UncompressedSize64 {
		return 0, 0, fmt.Errorf("PyTorch zip: entry %q is compressed or encrypted; save it again with torch.save", record.Name)
	}
	if at, err = record.DataOffset(); err != nil {
		return 0, 0, fmt.Errorf("PyTorch zip: entry %q: %w", record.Name, err)
	}
	if at < 0 || at > f.size || record.CompressedSize64 > uint64(f.size-at) {
		return 0, 0, fmt.Errorf("PyTorch zip: entry %q of %d bytes reaches beyond the file's end", record.Name, record.CompressedSize64)
	}
	return at, int64(record.CompressedSize64), nil
}

// The legacy stream opens with these numbers.
const (
	legacyMagic    = long("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") // 119547037146038801333356
	legacyProtocol = int64(1001)
)

// parseLegacy reads torch.save's format before 1.6: five pickles (magic number,
// protocol, a dict on the writer's machine, the state dict, the list of storage
// keys), then for each key the number of values (8 bytes) and the values.
func (f *File) parseLegacy() error {
	in := newSource(f.r, 0, f.size)
	parts, err := legacyParts(in, false)
	if err != nil {
		return err
	}
	if root, ok := parts[0].(*dict); ok {
		return f.parsePersistent(root)
	}
	keys, ok := parts[4].(*list)
	if !ok {
		return errors.New("PyTorch legacy stream without a list of storages")
	}
	offsets, err := legacyStorages(in, keys.items)
	if err != nil {
		return fmt.Errorf("PyTorch legacy stream: %w", err)
	}
	return f.addState(parts[3], func(s storage) (int64, error) { return offsets[s.key], nil })
}

var errNoStream = errors.New("a pickle, but not PyTorch's legacy stream: the magic number is missing")

// legacyParts reads the pickles of a legacy stream, nested in a run of bytes of another pickle
// or not. Of a file that opens with a dict instead, the dict is the first and only one.
func legacyParts(in *source, nested bool) (parts [5]any, err error) {
	for i := range parts {
		if parts[i], err = (&machine{in: in, nested: nested}).run(); err != nil {
			return parts, err
		}
		if _, ok := parts[i].(*dict); i == 0 && ok && !nested {
			return parts, nil
		}
		if i == 0 && parts[0] != legacyMagic {
			return parts, errNoStream
		}
		if i == 1 && parts[1] != legacyProtocol {
			return parts, fmt.Errorf("PyTorch legacy stream of another protocol than %d", legacyProtocol)
		}
	}
	machine, ok := parts[2].(*dict)
	if !ok || machine.values["little_endian"] != true {
		return parts, errors.New("PyTorch legacy stream that is not little-endian")
	}
	return parts, nil
}

// legacyStorages walks the storages that follow the list of keys and returns the byte
// offset of each one's values.
func legacyStorages(in *source, keys []any) (map[string]int64, error) {
	offsets := map[string]int64{}
	at := in.pos
	for _, item := range keys {
		key, _ := item.(string)
		s, ok := in.storages[key]
		if _, twice := offsets[key]; !ok || twice {
			return nil, fmt.Errorf("storage %q is unknown or occurs twice", key)
		}
		var count [8]byte
		if err := readAt(in.r, count[:], at); err != nil {
			return nil, err
		}
		at += 8
		n := s.count * itemSize[s.dtype]
		if le.Uint64(count[:]) != uint64(s.count) || n > in.end-at {
			return nil, fmt.Errorf("storage %q announces %d values and has room for %d, wanted %d", key, le.Uint64(count[:]), (in.end-at)/itemSize[s.dtype], s.count)
		}
		offsets[key] = at
		at += n
	}
	if len(offsets) != len(in.storages) {
		return nil, fmt.Errorf("%d storages follow, the state dict names %d", len(offsets), len(in.storages))
	}
	return offsets, nil
}
