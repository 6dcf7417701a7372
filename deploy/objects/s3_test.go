//go:build !nocloud

package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The same as TestOneTable on a server of S3's protocol, started for the test.
func TestS3(t *testing.T) {
	server, err := exec.LookPath("versitygw")
	if err != nil {
		t.Skip("no versitygw (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	where := l.Addr().String()
	check(t, l.Close())
	root := t.TempDir()
	check(t, os.Mkdir(filepath.Join(root, "bucket"), 0o777))
	var said bytes.Buffer
	c := exec.Command(server, "--port", where, "--access", "key", "--secret", "secret", "posix", root)
	c.Stdout, c.Stderr = &said, &said
	check(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s", &said)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+where, nil)
		check(t, err)
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
			break
		}
		check(t, ctx.Err())
		time.Sleep(50 * time.Millisecond)
	}
	oneTable(t, "s3://bucket/experiments/one?region=us-east-1&use_path_style=true&endpoint=http://"+where,
		"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret")
}
