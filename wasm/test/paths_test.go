package test

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/wasm/wasmtest"
)

// demoServer starts the demo page's server on a folder with a secret beside it, and returns
// its address.
func demoServer(f *testing.F) string {
	dir := f.TempDir()
	require.NoError(f, os.MkdirAll(filepath.Join(dir, "page", "sub"), 0o755))
	require.NoError(f, os.WriteFile(filepath.Join(dir, "page", "index.html"), []byte("the page"), 0o644))
	require.NoError(f, os.WriteFile(filepath.Join(dir, "secret"), []byte(secret), 0o644))
	node := exec.Command("node", wasmtest.Root(f, "wasm/demo/serve.mjs"), filepath.Join(dir, "page"), "0")
	out, err := node.StdoutPipe()
	require.NoError(f, err)
	require.NoError(f, node.Start())
	f.Cleanup(func() { _ = node.Process.Kill(); _ = node.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(f, err)
	at, err := url.Parse(regexp.MustCompile(`http://\S+`).FindString(line))
	require.NoError(f, err)
	return net.JoinHostPort("127.0.0.1", at.Port())
}

const secret = "what the page must not show"

// FuzzPaths asks the demo page's server for anything: it answers, goes on, and shows no file
// outside its folder.
func FuzzPaths(f *testing.F) {
	wasmtest.NeedsNode(f)
	address := demoServer(f)
	for _, path := range []string{"/", "/%", "/../secret", "/%2e%2e/secret", "/..%2fsecret", "//", "/sub", "/\x00", "*", "http://[", "/..\\secret"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ContainsAny(path, "\r\n") {
			return // another request than one for a path
		}
		c, err := net.Dial("tcp", address)
		require.NoError(t, err, "the server has ended")
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = c.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
		require.NoError(t, err)
		answer, _ := io.ReadAll(io.LimitReader(c, 1<<20)) // a reset connection is an answer, too
		if strings.Contains(string(answer), secret) {
			t.Fatalf("%q shows a file outside the folder", path)
		}
		if len(answer) > 0 && !regexp.MustCompile(`^HTTP/1\.1 (200|400|404|431) `).Match(answer) {
			t.Fatalf("%q: %.100q", path, answer)
		}
	})
}
