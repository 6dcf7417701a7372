package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allocated is the bytes that f allocates, freed ones included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A pickle that builds more than its bytes account for is refused, before it has taken
// memory in proportion: floods of the memo, of dicts and of tuples in tuples, and an
// OrderedDict that is built again and again from a list in the memo.
func TestPickleBudget(t *testing.T) {
	pairs := bytes.NewBufferString("\x80\x02ccollections\nOrderedDict\nq\x03](")
	for k := range 20_000 {
		pairs.WriteString("](U\x04")
		require.NoError(t, binary.Write(pairs, binary.LittleEndian, uint32(k)))
		pairs.WriteString("Ne")
	}
	pairs.WriteString("e\x85q\x02")
	for name, p := range map[string][]byte{
		"memo":        append([]byte("\x80\x02N"), bytes.Repeat([]byte{opMemoize}, 1<<20)...),
		"dicts":       append([]byte("\x80\x02]("), bytes.Repeat([]byte{opEmptyDict}, 1<<15)...),
		"tuples":      append([]byte("\x80\x02)"), bytes.Repeat([]byte{opTuple1}, 1<<20)...),
		"OrderedDict": append(pairs.Bytes(), bytes.Repeat([]byte("h\x03h\x02R"), 2000)...),
	} {
		used := allocated(func() {
			_, err := unpickle(newSource(bytes.NewReader(p), 0, int64(len(p))))
			assert.ErrorContains(t, err, "build more than a checkpoint's do", name)
		})
		assert.Less(t, used, uint64(2*len(p)+64<<20), name)
	}
}

// A header with more tensors or dimensions than any checkpoint's is refused.
func TestSafetensorsLimits(t *testing.T) {
	var many strings.Builder
	for k := range maxTensors + 1 {
		fmt.Fprintf(&many, `,"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`, k)
	}
	var texts strings.Builder
	for k := range maxMetadata + 1 {
		fmt.Fprintf(&texts, `,"%d":"x"`, k)
	}
	for says, header := range map[string]string{
		"more than 65536 tensors": "{" + many.String()[1:] + "}",
		"more than 4096 texts":    `{"__metadata__":{` + texts.String()[1:] + "}}",
		"more than 16 numbers":    `{"t":{"dtype":"F32","shape":[` + strings.Repeat("1,", 16) + `1],"data_offsets":[0,4]}}`,
	} {
		file := append(le.AppendUint64(nil, uint64(len(header))), header...)
		file = append(file, 0, 0, 0, 0)
		_, err := Read(bytes.NewReader(file), int64(len(file)), "test")
		assert.ErrorContains(t, err, says)
	}
}
