package checkpoint

import (
	"os"
	"testing"
)

// FuzzRead throws bytes at the reader: it must not panic, and what it returns must be
// no larger than the file can hold.
func FuzzRead(f *testing.F) {
	for _, c := range hostile(f) {
		if len(c.data) < 1<<12 {
			f.Add(c.data)
		}
	}
	for _, name := range []string{"zip2", "zip3", "zip5", "legacy2", "legacy4"} {
		data, err := os.ReadFile("testdata/" + name + ".pt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(safe(`{"__metadata__":{"a":"b"},"w":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"n":{"dtype":"I64","shape":[],"data_offsets":[4,12]}}`, "abcd01234567"))
	f.Fuzz(func(t *testing.T, data []byte) { exercise(t, data) })
}

// FuzzPickle puts the bytes where a pickle goes, behind the archive's own checks.
func FuzzPickle(f *testing.F) {
	f.Add([]byte(pState(pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(2, 2), pInts(1, 2)))))
	f.Add([]byte(proto + pDict(pString("ema"), "}b", pString("model"), pDict(pString("w"), pTensor(pStorage("LongStorage", "0", 2), 1, pInts(1), pInts(1)))) + "."))
	f.Add([]byte("\x80\x04\x95\x08\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01w\x94h\x00s."))
	f.Fuzz(func(t *testing.T, state []byte) { exercise(t, zip4(t, string(state))) })
}

// exercise reads up to 50 tensors by every method.
func exercise(t *testing.T, data []byte) {
	file, err := open(data)
	if err != nil {
		return
	}
	names := file.Names()
	for _, name := range names[:min(50, len(names))] {
		info, ok := file.Info(name)
		if !ok {
			t.Fatalf("no info on %q", name)
		}
		if need := int64(info.Len()) * itemSize[info.DType]; need < 0 || need > int64(len(data)) {
			t.Fatalf("%v needs %d bytes of a file of %d", info, need, len(data))
		}
		if v, err := file.Floats(name, info.Shape...); err == nil && len(v) != info.Len() {
			t.Fatalf("%d values of %v", len(v), info)
		}
		file.Float64s(name)
		file.Ints(name)
	}
}
