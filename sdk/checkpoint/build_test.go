package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Pieces of pickles, for files that no honest writer makes.

const (
	proto       = "\x80\x02"
	rebuild     = "ctorch._utils\n_rebuild_tensor_v2\n"
	orderedHook = "ccollections\nOrderedDict\n)R"
	magicPickle = proto + "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
)

func pString(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func pInt(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func pTuple(items ...string) string { return "(" + strings.Join(items, "") + "t" }

func pInts(n ...int64) string {
	var items []string
	for _, v := range n {
		items = append(items, pInt(v))
	}
	return pTuple(items...)
}

func pDict(items ...string) string { return "}(" + strings.Join(items, "") + "u" }

// pStorage refers to a storage of the zip format.
func pStorage(class, key string, count int64) string {
	return pTuple(pString("storage"), "ctorch\n"+class+"\n", pString(key), pString("cpu"), pInt(count)) + "Q"
}

// pTensor returns a view of a storage.
func pTensor(storage string, offset int64, shape, strides string) string {
	return rebuild + pTuple(storage, pInt(offset), shape, strides, "\x89", orderedHook) + "R"
}

// pState returns a whole state dict with the single tensor "w".
func pState(tensor string) string { return proto + pDict(pString("w"), tensor) + "." }

// zipped returns an archive of torch.save's layout.
func zipped(t testing.TB, method uint16, state string, records map[string]string) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	put := func(name, content string) {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: "m/" + name, Method: method})
		require.NoError(t, err)
		_, err = entry.Write([]byte(content))
		require.NoError(t, err)
	}
	put("data.pkl", state)
	for name, content := range records {
		put(name, content)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// zip4 returns an archive with the storage "0" of four float32 values.
func zip4(t testing.TB, state string) []byte {
	return zipped(t, zip.Store, state, map[string]string{"data/0": strings.Repeat("\x00\x00\x80\x3f", 4)})
}

// legacy returns a legacy stream whose keys and storages are given as they stand.
func legacy(state, keys, storages string) []byte {
	system := proto + pDict(pString("little_endian"), "\x88") + "."
	return []byte(magicPickle + proto + pInt(1001) + "." + system + state + keys + storages)
}

// safe returns a safetensors file of a header and a buffer.
func safe(header, buffer string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+buffer...)
}

func open(data []byte) (*File, error) {
	return Read(bytes.NewReader(data), int64(len(data)), "test")
}

// readAll opens a file and reads every tensor as what it is.
func readAll(data []byte) error {
	f, err := open(data)
	if err != nil {
		return err
	}
	for _, name := range f.Names() {
		info, ok := f.Info(name)
		if !ok {
			return fmt.Errorf("no info on %q", name)
		}
		if intDecoders[info.DType] != nil {
			_, err = f.Ints(name, info.Shape...)
		} else {
			_, err = f.Floats(name, info.Shape...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
