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
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// serve starts a server for the test and returns host and port, when it answers. args has %s for those.
func serve(t *testing.T, source, name string, args ...string) string {
	server, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s (go install %s)", name, source)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	where := l.Addr().String()
	_, port, err := net.SplitHostPort(where)
	check(t, err)
	check(t, l.Close())
	for i := range args {
		args[i] = strings.NewReplacer("PORT", port, "WHERE", where).Replace(args[i])
	}
	var said bytes.Buffer
	c := exec.Command(server, args...)
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
			return where
		}
		check(t, ctx.Err())
		time.Sleep(50 * time.Millisecond)
	}
}

// firstStays tests what results rely on: of two writers of one name the second is refused.
func firstStays(t *testing.T, address string) {
	bucket, err := blob.OpenBucket(t.Context(), address)
	check(t, err)
	defer bucket.Close()
	only := &blob.WriterOptions{IfNotExist: true}
	check(t, bucket.WriteAll(t.Context(), "once", []byte("first"), only))
	if err := bucket.WriteAll(t.Context(), "once", []byte("second"), only); gcerrors.Code(err) != gcerrors.FailedPrecondition {
		t.Fatalf("the second writer gets %v: it must be refused", err)
	}
	data, err := bucket.ReadAll(t.Context(), "once")
	check(t, err)
	if string(data) != "first" {
		t.Fatalf("%q is kept", data)
	}
}

// NOTICE has the licences of the modules that the program is made of.
func TestNotice(t *testing.T) {
	made := exec.Command("go", "-C", "../..", "run", "./tools/notices", "./deploy/objects")
	made.Stderr = os.Stderr
	want, err := made.Output()
	check(t, err)
	got, err := os.ReadFile("NOTICE")
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Fatal("NOTICE is not current: make notices")
	}
}

// The same as TestOneTable on a server of S3's protocol.
func TestS3(t *testing.T) {
	root := t.TempDir()
	check(t, os.Mkdir(filepath.Join(root, "bucket"), 0o777))
	where := serve(t, "github.com/versity/versitygw/cmd/versitygw@v1.8.0", "versitygw", "--port", "WHERE", "--access", "key", "--secret", "secret", "posix", root)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	bucket := "s3://bucket?region=us-east-1&use_path_style=true&endpoint=http://" + where
	firstStays(t, bucket)
	oneTable(t, strings.Replace(bucket, "?", "/experiments/one?", 1))
}

// The same on a server of Google Cloud Storage's protocol.
func TestGCS(t *testing.T) {
	root := t.TempDir()
	check(t, os.Mkdir(filepath.Join(root, "bucket"), 0o777))
	where := serve(t, "github.com/fsouza/fake-gcs-server@v1.56.1", "fake-gcs-server", "-scheme", "http", "-host", "127.0.0.1", "-port", "PORT", "-public-host", "WHERE", "-backend", "memory", "-data", root)
	t.Setenv("STORAGE_EMULATOR_HOST", where)
	firstStays(t, "gs://bucket")
	oneTable(t, "gs://bucket/experiments/one")
}
