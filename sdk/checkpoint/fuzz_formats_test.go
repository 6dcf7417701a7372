package checkpoint

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cmi-diffusion/cmi/internal/fuzztest"
)

// inspect reads a file's tensors by every method in bounded memory. What it returns is finite
// and no larger than what the file can hold.
func inspect(t *testing.T, data []byte) {
	most := 4<<20 + 256*len(data)
	var file *File
	if fuzztest.Check(t, most, func() (err error) {
		file, err = open(data)
		return err
	}) != nil {
		return
	}
	names := file.Names()
	for _, name := range names[:min(20, len(names))] {
		info, ok := file.Info(name)
		if need := int64(info.Len()) * itemSize[info.DType]; !ok || need < 0 || need > int64(len(data)) {
			t.Fatalf("%v needs %d bytes of a file of %d", info, need, len(data))
		}
		_ = fuzztest.Check(t, most, func() error {
			v, err := file.Floats(name, info.Shape...)
			fuzztest.Finite(t, v...)
			if err == nil && len(v) != info.Len() {
				t.Fatalf("%d values of %v", len(v), info)
			}
			return err
		})
		_ = fuzztest.Check(t, most, func() error {
			v, err := file.Float64s(name)
			fuzztest.Finite(t, v...)
			return err
		})
		_ = fuzztest.Check(t, most, func() error {
			_, err := file.Ints(name)
			return err
		})
	}
	_ = fuzztest.Check(t, most, func() error {
		_, err := file.Floats("w.weight", 3, 3)
		return err
	})
}

// FuzzSafetensors puts the bytes where a header goes, whose length is right, and where the values go.
func FuzzSafetensors(f *testing.F) {
	f.Add(`{"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`, []byte("\x00\x00\x80\x3f\x00\x00\xc0\x7f"))
	f.Add(`{"__metadata__":{"a":"b"},"w":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"n":{"dtype":"I64","shape":[],"data_offsets":[4,12]}}`, []byte("abcd01234567"))
	f.Add(`{"module.w":{"dtype":"BF16","shape":[0,9223372036854775807],"data_offsets":[0,0]}} `, []byte{})
	long := strings.Repeat("a", 3000)
	f.Add(`{"`+long+`":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, []byte("\x00\x00\xc0\x7f"))
	f.Add(`{"w":{"`+long+`":0}}`, []byte{})
	f.Fuzz(func(t *testing.T, header string, values []byte) { inspect(t, safe(header, string(values))) })
}

// FuzzLegacy puts the bytes where a legacy stream's state dict, list of keys and storages go.
func FuzzLegacy(f *testing.F) {
	state := pState(pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(2, 2), pInts(1, 2)))
	keys := proto + "](" + pString("0") + "e."
	storage := binary.LittleEndian.AppendUint64(nil, 4)
	for _, v := range []float32{1, -2, 3e38, float32(math.Inf(1))} {
		storage = binary.LittleEndian.AppendUint32(storage, math.Float32bits(v))
	}
	f.Add(state, keys, storage)
	f.Add(state, proto+"].", storage[:8])
	f.Fuzz(func(t *testing.T, state, keys string, storages []byte) {
		inspect(t, legacy(state, keys, string(storages)))
	})
}

// FuzzZip changes a few bytes of an archive of torch.save's, so that its directory stays one.
func FuzzZip(f *testing.F) {
	whole := zip4(f, pState(pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(4), pInts(1))))
	f.Add(uint16(0), []byte("PK"), uint16(len(whole)-22), []byte("PK\x05\x06"))
	f.Add(uint16(30), []byte("m/data.pkl"), uint16(100), []byte{})
	f.Fuzz(func(t *testing.T, at uint16, bytes []byte, at2 uint16, bytes2 []byte) {
		data := slices.Clone(whole)
		copy(data[int(at)%len(data):], bytes)
		copy(data[int(at2)%len(data):], bytes2)
		inspect(t, data)
	})
}
