package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hostile returns the files that must be refused, each with a part of the wanted error.
func hostile(t testing.TB) map[string]struct {
	data []byte
	want string
} {
	float4 := pStorage("FloatStorage", "0", 4)
	tensor := func(offset int64, shape, strides string) []byte {
		return zip4(t, pState(pTensor(float4, offset, shape, strides)))
	}
	pickle := func(program string) []byte { return zip4(t, proto+program) }
	good := pState(pTensor(float4, 0, pInts(4), pInts(1)))
	legacyState := good
	keys := proto + "](" + pString("0") + "e."
	four := string(binary.LittleEndian.AppendUint64(nil, 4))
	huge := string(binary.LittleEndian.AppendUint64(nil, 1<<60))
	ones := strings.Repeat("\x00\x00\x80\x3f", 4)
	lying := zip4(t, pState(pTensor(pStorage("FloatStorage", "0", 1<<28), 0, pInts(1<<28), pInts(1))))
	directory := lying[bytes.LastIndex(lying, []byte("PK\x01\x02")):] // of data/0
	copy(directory[20:], "\x00\x00\x00\x40\x00\x00\x00\x40")          // both sizes 1 GiB
	twice := zipped(t, zip.Store, good, map[string]string{"data/0": ones, "data/1": ones})
	twice = bytes.ReplaceAll(twice, []byte("data/1"), []byte("data/0"))
	return map[string]struct {
		data []byte
		want string
	}{
		"os.system":               {pickle("cos\nsystem\n" + pTuple(pString("true")) + "R."), `refused the global "os.system"`},
		"posix.system, stack":     {pickle(pString("posix") + pString("system") + "\x93."), `refused the global "posix.system"`},
		"builtins.eval":           {pickle("cbuiltins\neval\n."), `refused the global "builtins.eval"`},
		"dotted name":             {pickle("ctorch\n_utils._rebuild_tensor_v2.__globals__\n."), "refused the global"},
		"legacy os.system":        {[]byte(proto + "cos\nsystem\n."), `refused the global "os.system"`},
		"opcode INST":             {pickle("(ios\nsystem\n."), "refused opcode 0x69 (INST)"},
		"opcode NEWOBJ":           {pickle("ccollections\nOrderedDict\n)\x81."), "an object of what is no known class"},
		"opcode EXT4":             {pickle("\x84\x01\x00\x00\x00."), "refused opcode 0x84 (EXT4)"},
		"opcode unknown":          {pickle("\xff."), "refused opcode 0xff (unknown)"},
		"protocol 6":              {zip4(t, "\x80\x06}."), "protocol 6"},
		"string of 4 GB":          {pickle("X\xff\xff\xff\xffabc."), "string of 4294967295 bytes"},
		"string of 2^63 bytes":    {pickle("\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc."), "string of"},
		"string past the end":     {pickle("X\xff\x00\x00\x00abc."), "255 bytes wanted, 4 left"},
		"endless global":          {pickle("c" + strings.Repeat("a", 10000)), "without an end"},
		"no STOP":                 {pickle("}"), "cut off"},
		"empty pickle":            {zip4(t, ""), "cut off"},
		"empty stack":             {pickle("."), "too few values"},
		"pop through a mark":      {pickle("}(\x85."), "too few values"},
		"tuple without mark":      {pickle("}t."), "no mark"},
		"deep marks":              {pickle(strings.Repeat("(", 1<<17)), "marks on the stack"},
		"deep stack":              {pickle(strings.Repeat("]", 1<<17)), "values on the stack"},
		"long program":            {pickle("}q\x00" + strings.Repeat("h\x00\x85", 1<<20)), "on the stack"},
		"endless program":         {pickle("]" + strings.Repeat("Na", 1<<21)), "longer than"},
		"memo not set":            {pickle("h\x07."), "memo 7 is not set"},
		"append to a number":      {pickle("NNa."), "not a list"},
		"odd items":               {pickle("}(Nu."), "without a value"},
		"key twice":               {pickle(pDict(pString("a"), "N", pString("a"), "N") + "."), `key "a" occurs twice`},
		"call a string":           {pickle(pString("a") + ")R."), "not a function"},
		"call a dict":             {pickle("})R."), "not a function"},
		"call a storage class":    {pickle("ctorch\nFloatStorage\n)R."), "not a function"},
		"OrderedDict of itself":   {pickle("ccollections\nOrderedDict\n]\x85R."), "no tensors"},
		"OrderedDict of a number": {pickle("ccollections\nOrderedDict\nK\x01\x85R."), "OrderedDict of 1 arguments"},
		"OrderedDict of triples":  {pickle("ccollections\nOrderedDict\n]]a\x85R."), "that does not hold pairs"},
		"state of a tensor":       {pickle(pTensor(float4, 0, pInts(4), pInts(1)) + "}b."), "state for an object"},
		"parameter of a dict":     {pickle("ctorch._utils\n_rebuild_parameter\n" + pTuple("}", "\x88", "}") + "R."), "_rebuild_parameter without"},
		"few arguments":           {pickle(rebuild + ")R."), "of 0 arguments"},
		"list that holds itself":  {pickle("]q\x00h\x00a."), "no state dict"},
		"dict that holds itself":  {pickle("}q\x00" + pString("model") + "h\x00s."), "no tensors"},
		"top is a number":         {pickle("K\x01."), "no state dict"},
		"empty dict":              {pickle("}."), "no tensors"},
		"bad persistent id":       {pickle("NQ."), "not a storage"},
		"persistent id of lists":  {pickle(pTuple("]", "]", "]", "]", "]") + "Q."), "not a storage"},
		"storage without class":   {pickle(pTuple(pString("storage"), "N", pString("0"), "N", "K\x04") + "Q."), "without a class"},
		"storage of 2^62":         {pickle(pDict(pString("w"), pTensor(pStorage("FloatStorage", "0", 1<<62), 0, pInts(4), pInts(1))) + "."), "sensible count"},
		"storage of -1":           {pickle(pStorage("FloatStorage", "0", -1) + "."), "sensible count"},
		"storage twice":           {pickle(pTuple(float4, pStorage("HalfStorage", "0", 8)) + "."), "in another"},

		"negative dimension":      {tensor(0, pInts(-4), pInts(1)), "entries ≥ 0"},
		"two negative dimensions": {tensor(0, pInts(-2, -2), pInts(2, 1)), "entries ≥ 0"},
		"negative stride":         {tensor(3, pInts(4), pInts(-1)), "entries ≥ 0"},
		"negative offset":         {tensor(-1, pInts(4), pInts(1)), "leaves its storage"},
		"offset past the end":     {tensor(1, pInts(4), pInts(1)), "leaves its storage"},
		"offset of 2^62":          {tensor(1<<62, pInts(1), pInts(1)), "leaves its storage"},
		"shape of 2^40":           {tensor(0, pInts(1<<40), pInts(1)), "leaves its storage"},
		"shape that overflows":    {tensor(0, pInts(1<<32, 1<<32), pInts(1, 1)), "leaves its storage"},
		"shape wraps to 4":        {tensor(0, pInts(1<<62+1, 4), pInts(0, 1)), "leaves its storage"},
		"stride past the end":     {tensor(0, pInts(2, 2), pInts(3, 1)), "leaves its storage"},
		"stride that overflows":   {tensor(0, pInts(2, 2), pInts(math.MaxInt64, math.MaxInt64)), "leaves its storage"},
		"stride 0 multiplies":     {tensor(0, pInts(1<<40), pInts(0)), "leaves its storage"},
		"fewer strides":           {tensor(0, pInts(2, 2), pInts(1)), "equal length"},
		"17 dimensions":           {tensor(0, pInts(make([]int64, 17)...), pInts(make([]int64, 17)...)), "at most 16"},
		"shape of strings":        {tensor(0, pTuple(pString("4")), pInts(1)), "entries ≥ 0"},

		"zip: storage absent":     {zip4(t, pState(pTensor(pStorage("FloatStorage", "../0", 4), 0, pInts(4), pInts(1)))), "not in the archive"},
		"zip: storage too small":  {zip4(t, pState(pTensor(pStorage("FloatStorage", "0", 1<<40), 0, pInts(1<<40), pInts(1)))), "16 bytes, wanted 1099511627776 values"},
		"zip: storage of doubles": {zip4(t, pState(pTensor(pStorage("DoubleStorage", "0", 4), 0, pInts(4), pInts(1)))), "16 bytes, wanted 4 values of F64"},
		"zip: big-endian":         {zipped(t, zip.Store, good, map[string]string{"data/0": ones, "byteorder": "big"}), `byte order "big"`},
		"zip: compressed":         {zipped(t, zip.Deflate, good, map[string]string{"data/0": ones}), "compressed"},
		"zip: no pickle":          {bytes.ReplaceAll(zip4(t, good), []byte("data.pkl"), []byte("data.pkk")), "without data.pkl"},
		"zip: entry twice":        {twice, "occurs twice"},
		"zip: lying sizes":        {lying, "beyond the file's end"},
		"zip: tail cut":           {zip4(t, good)[:100], "not a valid zip"},

		"legacy: other pickle":   {[]byte(proto + "K\x01."), "magic number is missing"},
		"legacy: protocol":       {[]byte(magicPickle + proto + "K\x01."), "another protocol"},
		"legacy: big-endian":     {[]byte(magicPickle + proto + pInt(1001) + "." + proto + pDict(pString("little_endian"), "\x89") + "." + legacyState + keys), "not little-endian"},
		"legacy: no keys":        {legacy(legacyState, proto+"N.", ""), "without a list"},
		"legacy: unknown key":    {legacy(legacyState, proto+"]"+pString("1")+"a.", four+ones), `storage "1" is unknown`},
		"legacy: key of list":    {legacy(legacyState, proto+"]]a.", four+ones), "is unknown"},
		"legacy: key twice":      {legacy(legacyState, proto+"]("+pString("0")+pString("0")+"e.", four+ones+four+ones), "occurs twice"},
		"legacy: storage absent": {legacy(legacyState, proto+"].", four+ones), "0 storages follow, the state dict names 1"},
		"legacy: count lies":     {legacy(legacyState, keys, huge+ones), "announces 1152921504606846976 values"},
		"legacy: storage cut":    {legacy(legacyState, keys, four+ones[:15]), "has room for 3, wanted 4"},

		"safetensors: header of 2^63":   {[]byte("\xff\xff\xff\xff\xff\xff\xff\xff{}"), "header of 18446744073709551615 bytes"},
		"safetensors: header past end":  {append([]byte("\x10\x00\x00\x00\x00\x00\x00\x00"), "{}"...), "header of 16 bytes, at most 2 are possible in a file of 10"},
		"safetensors: not JSON":         {safe(`{"w":`, ""), "not a JSON object"},
		"safetensors: two objects":      {safe(`{}{}`, ""), "not a JSON object"},
		"safetensors: bad UTF-8":        {safe("{\"\xff\":1}", ""), "UTF-8"},
		"safetensors: no tensors":       {safe(`{}`, ""), "without tensors"},
		"safetensors: bytes to spare":   {safe(`{}`, "abc"), "tensors end at byte 0, the file's buffer at 3"},
		"safetensors: name twice":       {safe(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "ab"), `"w" occurs twice`},
		"safetensors: escaped twice":    {safe(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0077":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "ab"), `"w" occurs twice`},
		"safetensors: field twice":      {safe(`{"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "a"), `"dtype" occurs twice`},
		"safetensors: metadata twice":   {safe(`{"__metadata__":{"a":"1","a":"2"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "a"), `"a" occurs twice`},
		"safetensors: metadata number":  {safe(`{"__metadata__":{"a":1}}`, ""), "a string was wanted"},
		"safetensors: nested metadata":  {safe(`{"__metadata__":{"a":{}}}`, ""), "a string was wanted"},
		"safetensors: field absent":     {safe(`{"w":{"dtype":"U8","shape":[1]}}`, "a"), "wanted dtype, shape and two data_offsets"},
		"safetensors: field unknown":    {safe(`{"w":{"dtype":"U8","shape":[1],"offsets":[0,1]}}`, "a"), `unknown field "offsets"`},
		"safetensors: three offsets":    {safe(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}`, "a"), "two data_offsets"},
		"safetensors: dtype":            {safe(`{"w":{"dtype":"X9","shape":[1],"data_offsets":[0,1]}}`, "a"), `unknown dtype "X9"`},
		"safetensors: negative":         {safe(`{"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, "a"), "a count was wanted"},
		"safetensors: fraction":         {safe(`{"w":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, "a"), "a count was wanted"},
		"safetensors: shape null":       {safe(`{"w":{"dtype":"U8","shape":[null],"data_offsets":[0,1]}}`, "a"), "a count was wanted"},
		"safetensors: shape overflows":  {safe(`{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, ""), "does not fill its bytes"},
		"safetensors: shape of 2^40":    {safe(`{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}`, ""), "tensors need 4398046511104 more"},
		"safetensors: too few bytes":    {safe(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, "abcd"), "does not fill its bytes"},
		"safetensors: offsets reversed": {safe(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, "a"), "does not fill its bytes"},
		"safetensors: cut off":          {safe(`{"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, "abc"), "cut off: it has 116 bytes, its tensors need 1 more"},
		"safetensors: hole":             {safe(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "ab"), "wanted it to begin at 0"},
		"safetensors: overlap":          {safe(`{"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, "abc"), "wanted it to begin at 2"},
		"safetensors: buffer too short": {safe(`{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, "abc"), "cut off: it has 64 bytes, its tensors need 1 more"},

		"empty file": {nil, "neither safetensors nor a PyTorch file"},
		"web page":   {[]byte("<!DOCTYPE html><html>"), `starts with "<!DOCTYPE"`},
	}
}

// Each hostile file is refused with an error that says why, and without memory
// beyond a small multiple of its size.
func TestHostileFiles(t *testing.T) {
	for name, c := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := readAll(c.data)
			runtime.ReadMemStats(&after)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(3<<20+100*len(c.data)))
		})
	}
}

// The bound holds for tensors too: a file of a kilobyte can not ask for 2^40 values,
// by whichever of its numbers.
func TestLittleFileLittleMemory(t *testing.T) {
	cases := hostile(t)
	for _, name := range []string{
		"shape of 2^40", "stride 0 multiplies", "zip: storage too small", "zip: lying sizes", "legacy: count lies",
		"safetensors: shape of 2^40", "string of 4 GB", "storage of 2^62",
	} {
		data := cases[name].data
		require.NotEmpty(t, data, name)
		require.Less(t, len(data), 1<<10, name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.Error(t, readAll(data), name)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)
	}
}

// A file cut off at any byte is an error, in opening it or in reading its tensors.
func TestTruncatedAtEveryByte(t *testing.T) {
	var written bytes.Buffer
	require.NoError(t, WriteSafetensors(&written, []Content{{Tensor: Tensor{"w", F32, []int{2}}, Floats: []float32{1, 2}}, {Tensor: Tensor{"v", I64, nil}, Ints: []int64{3}}}, map[string]string{"a": "b"}))
	files := map[string][]byte{"safetensors": written.Bytes()}
	for _, name := range []string{"zip2", "zip4", "legacy2", "legacy4"} {
		data, err := os.ReadFile("testdata/" + name + ".pt")
		require.NoError(t, err)
		files[name] = data
	}
	for name, data := range files {
		require.NoError(t, readAll(data), name)
		for n := range data {
			require.Error(t, readAll(data[:n]), "%s cut to %d of %d bytes", name, n, len(data))
		}
	}
}

// The same for whole networks at some positions, and for a reader that ends before
// the size it announced.
func TestTruncatedNetworks(t *testing.T) {
	for _, path := range []string{"unet/released-style/model.pt", "unet/plain-blocks/model.pt", "unet/new-attention-order/model.safetensors"} {
		data, err := os.ReadFile(golden + "/" + path)
		require.NoError(t, err)
		for _, n := range []int{0, 1, 7, 8, 9, 100, 5000, len(data) / 3, len(data) / 2, len(data) - 1000, len(data) - 1} {
			require.Error(t, readAll(data[:n]), "%s cut to %d", path, n)
			if n > len(data)-1000 {
				continue // no tensor lies there
			}
			f, err := Read(bytes.NewReader(data[:n]), int64(len(data)), "short")
			if err == nil {
				names := f.Names()
				for i := 0; i < len(names) && err == nil; i++ {
					_, err = f.Floats(names[i])
				}
			}
			require.Error(t, err, "%s ends at %d", path, n)
		}
	}
}

// A file with one byte changed is read or refused, without a panic and without
// tensors larger than the file.
func TestChangedBytes(t *testing.T) {
	for _, name := range []string{"zip2", "zip5", "legacy2", "legacy4"} {
		data, err := os.ReadFile("testdata/" + name + ".pt")
		require.NoError(t, err)
		for i := range data {
			for _, flip := range []byte{0xff, 0x80, 0x01} {
				data[i] ^= flip
				exercise(t, data)
				data[i] ^= flip
			}
		}
	}
}
