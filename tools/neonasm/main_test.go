package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFilesAreCurrent(t *testing.T) {
	text, declarations := generate()
	for name, want := range map[string][]byte{"vector_arm64.s": text, "vector_arm64.go": declarations} {
		got, err := os.ReadFile(filepath.Join("../../sdk/compute/cpu", name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got), "%s is not what tools/neonasm writes: run go generate detect_arm64.go there", name)
	}
}

// Every instruction written as a word is what an assembler makes of the mnemonic
// beside it.
func TestWordsAreTheirMnemonics(t *testing.T) {
	as, err := exec.LookPath("aarch64-linux-gnu-as")
	if err != nil {
		t.Skip("no assembler to compare with: apt-get install binutils-aarch64-linux-gnu")
	}
	text, _ := generate()
	words := regexp.MustCompile(`\tWORD\t\$0x([0-9a-f]{8}) // (.*)`).FindAllSubmatch(text, -1)
	require.Greater(t, len(words), 100)
	var source bytes.Buffer
	for _, w := range words {
		fmt.Fprintf(&source, "%s\n", w[2])
	}
	object := filepath.Join(t.TempDir(), "words.o")
	cmd := exec.Command(as, "-o", object, "-")
	cmd.Stdin = &source
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	f, err := elf.Open(object)
	require.NoError(t, err)
	defer f.Close()
	code, err := f.Section(".text").Data()
	require.NoError(t, err)
	require.Len(t, code, 4*len(words))
	for i, w := range words {
		assert.Equal(t, string(w[1]), fmt.Sprintf("%08x", binary.LittleEndian.Uint32(code[4*i:])), string(w[2]))
	}
}
